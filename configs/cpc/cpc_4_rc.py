# RC, random colour dropping: patches cannot be matched by their colour cast.
_base_ = './cpc_3_ln.py'

patch_steps = [*_base_.jitter_64, *_base_.drop_colours]
train_dataloader = dict(
    dataset=dict(
        pipeline=[
            *_base_.whole_256,
            dict(type='viewplug.PatchGrid', patch_size=64, stride=32, transforms=patch_steps),
            _base_.pack_patches,
        ]
    )
)
