# ReSim-FPN on MoCo v2 (ReSim, sec. 3.4, app. A.1): P4 as C4; P3 has windows of 32 pixels at stride 24, and negatives of
# its own GPU only.
_base_ = './moco_r50.py'

model = dict(
    branches=dict(
        region=dict(
            neck=dict(
                type='viewplug.RegionNeck',
                stages=('P3', 'P4'),
                fpn_channels=256,
                hidden_channels=128,
                out_channels=128,
            ),
            head=dict(
                type='viewplug.RegionHead',
                window=(32, 48),
                stride=(24, 32),
                downsample=(8, 16),
                gather=(False, True),
                negative_kernel=3,
                loss=dict(type='viewplug.InfoNCELoss', temperature=0.2),
            ),
        )
    )
)
