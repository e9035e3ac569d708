# ReSim-FPN on SimSiam: Table 7's widths on P3 (512-512-512, 512-128-512) and P4 (1024-1024-1024, 1024-256-1024).
_base_ = './simsiam_r50.py'

predictor = dict(
    type='viewplug.MLPNeck', num_layers=2, norm_cfg=dict(type='BN'), bias=False, normalize=False, hidden_channels=256
)
model = dict(
    branches=dict(
        region=dict(
            neck=dict(
                type='viewplug.RegionNeck',
                stages=('P3', 'P4'),
                fpn_channels=256,
                hidden_channels=(512, 1024),
                out_channels=(512, 1024),
                last_norm_cfg=dict(type='BN', affine=False),
            ),
            head=dict(
                type='viewplug.RegionHead',
                window=(32, 48),
                stride=(24, 32),
                downsample=(8, 16),
                loss=dict(type='viewplug.CosineLoss'),
                predictor=[dict(predictor, hidden_channels=128), predictor],
            ),
        )
    )
)
