# PA, patch augmentation: the last step of Fig. 3, CPC v2 on ResNet-161 (arXiv:1905.09272).
_base_ = './cpc_6_lp.py'

patch_steps = [*_base_.jitter_80, *_base_.patch_augmentation, *_base_.drop_colours]
train_dataloader = dict(
    dataset=dict(
        pipeline=[
            *_base_.coloured_260,
            dict(type='viewplug.PatchGrid', patch_size=80, stride=36, transforms=patch_steps),
            _base_.pack_patches,
        ]
    )
)
