# ReSim-C4 on MoCo v2 (ReSim, sec. 3.4): windows of 48 pixels at stride 32, T as the image loss.
_base_ = './moco_r50.py'

model = dict(
    branches=dict(
        region=dict(
            neck=dict(type='viewplug.RegionNeck', stages=('C4',), hidden_channels=128, out_channels=128),
            head=dict(
                type='viewplug.RegionHead',
                window=48,
                stride=32,
                downsample=16,
                gather=True,
                negative_kernel=3,
                loss=dict(type='viewplug.InfoNCELoss', temperature=0.2),
            ),
        )
    )
)
