# DINO on ViT-S/16 (arXiv:2104.14294): 65,536 prototypes. The gain of the last layer learns on ViT-S only.
model = dict(
    type='viewplug.Siamese',
    backbone=dict(type='viewplug.QueryViT', model_name='vit_small_patch16_224', drop_path_rate=0.1),
    target=dict(type='viewplug.MomentumTarget', momentum=0.996, end_momentum=1.0, joint_views=True),
    online_views=tuple(range(10)),
    target_views=(0, 1),
    joint_views=True,
    branches=dict(
        cls=dict(
            neck=dict(type='viewplug.DINONeck', out_channels=65536, norm_last_layer=False),
            head=dict(
                type='viewplug.DistillHead',
                teacher_temperature=0.07,
                warmup_teacher_temperature=0.04,
                warmup_epochs=30,
                center_momentum=0.9,
                loss=dict(type='viewplug.DINOLoss', temperature=0.1),
            ),
        )
    ),
)
