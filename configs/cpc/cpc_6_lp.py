# LP, larger patches: 6 x 6 of 80 pixels at stride 36. Three ahead (app.), the first that shares no pixel.
_base_ = './cpc_5_hp.py'

model = dict(head=dict(offsets=(3,)))
patch_steps = [*_base_.jitter_80, *_base_.drop_colours]
train_dataloader = dict(
    dataset=dict(
        pipeline=[
            *_base_.whole_260,
            dict(type='viewplug.PatchGrid', patch_size=80, stride=36, transforms=patch_steps),
            _base_.pack_patches,
        ]
    )
)
demo = dict(model=dict(head=dict(offsets=(2, 3))))
