# ReSim-C4 on SimSiam: no negatives, projector and predictor as Table 7 has them (1024-1024-1024, 1024-256-1024).
_base_ = './simsiam_r50.py'

model = dict(
    branches=dict(
        region=dict(
            neck=dict(
                type='viewplug.RegionNeck',
                stages=('C4',),
                hidden_channels=1024,
                out_channels=1024,
                last_norm_cfg=dict(type='BN', affine=False),
            ),
            head=dict(
                type='viewplug.RegionHead',
                window=48,
                stride=32,
                downsample=16,
                loss=dict(type='viewplug.CosineLoss'),
                predictor=dict(
                    type='viewplug.MLPNeck',
                    hidden_channels=256,
                    num_layers=2,
                    norm_cfg=dict(type='BN'),
                    bias=False,
                    normalize=False,
                ),
            ),
        )
    )
)
