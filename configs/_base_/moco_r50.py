# MoCo on ResNet-50, with v2's projector and temperature.
model = dict(
    type='viewplug.Siamese',
    backbone=dict(
        type='mmpretrain.ResNet',
        depth=50,
        norm_cfg=dict(type='BN'),
        zero_init_residual=False,
        out_indices=(0, 1, 2, 3),
    ),
    target=dict(type='viewplug.MomentumTarget', momentum=0.999, shuffle_bn=True),
    branches=dict(
        image=dict(
            neck=dict(type='viewplug.MLPNeck', hidden_channels=2048, out_channels=128, num_layers=2),
            head=dict(
                type='viewplug.QueueHead',
                queue_len=65536,
                feat_dim=128,
                loss=dict(type='viewplug.InfoNCELoss', temperature=0.2),
            ),
        )
    ),
)
