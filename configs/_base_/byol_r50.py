# BYOL on ResNet-50 (arXiv:2006.07733, sec. 3.2). Residual branches start at zero, as in the authors' code.
model = dict(
    type='viewplug.Siamese',
    backbone=dict(
        type='mmpretrain.ResNet',
        depth=50,
        norm_cfg=dict(type='BN'),
        zero_init_residual=True,
        out_indices=(0, 1, 2, 3),
    ),
    target=dict(type='viewplug.MomentumTarget', momentum=0.996, end_momentum=1.0),
    online_views=(0, 1),
    target_views=(0, 1),
    branches=dict(
        image=dict(
            neck=dict(
                type='viewplug.MLPNeck',
                hidden_channels=4096,
                out_channels=256,
                num_layers=2,
                norm_cfg=dict(type='BN'),
                last_bias=False,
                normalize=False,
            ),
            head=dict(
                type='viewplug.PredictHead',
                predictor=dict(
                    type='viewplug.MLPNeck',
                    hidden_channels=4096,
                    num_layers=2,
                    norm_cfg=dict(type='BN'),
                    last_bias=False,
                    normalize=False,
                ),
                loss=dict(type='viewplug.CosineLoss', scale=2, shift=2),  # 2 - 2 cos
            ),
            weight=2.0,  # the sum of both directions, not their mean
        )
    ),
)
sync_bn = 'torch'  # batch norm over all GPUs
