# HCL's second stage with ReSim-C4 beside it: 200 epochs from MoCo v2's weights. Run with --stages.
_base_ = '../mocov2_hcl_r50.py'

stage1_config = '../mocov2_r50.py'

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
train_dataloader = dict(
    dataset=dict(
        pipeline=[
            _base_.load_image,
            dict(
                type='viewplug.MultiView', num_views=2, transforms=[_base_.view_pipeline], shared_flip=0.5
            ),  # HCL takes the flips away, ReSim mirrors both views
            _base_.pack_views,
        ]
    )
)
