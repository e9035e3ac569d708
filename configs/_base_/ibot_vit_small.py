# iBOT on ViT-S/16 (arXiv:2111.07832): DINO with 8,192 prototypes, and the masked patches of the global views compared
# with the same patches seen by the target, through the same projection, with a centre of their own.
_base_ = './dino_vit_small.py'

model = dict(
    backbone=dict(mask_token=True),
    online_views=tuple(range(12)),
    branches=dict(
        cls=dict(neck=dict(out_channels=8192)),
        patch=dict(
            neck='cls',
            head=dict(
                type='viewplug.PatchDistillHead',
                teacher_temperature=0.07,
                warmup_teacher_temperature=0.04,
                warmup_epochs=30,
                center_momentum=0.9,
                loss=dict(type='viewplug.IBOTLoss', temperature=0.1),
            ),
            reads='patch',
            masked=True,
            pairs='same',
            online_views=(0, 1),
            weight=1.0,
        ),
    ),
)
