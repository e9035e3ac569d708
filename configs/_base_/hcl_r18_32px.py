# HCL's second stage for small images: 128 semantic + 8 x 8 spatial numbers.
_base_ = './moco_r18_32px.py'

stage1_config = 'mocov2_r18.py'
stage1_epochs = 200
stage2_epochs = 200

model = dict(
    branches=dict(
        image=dict(
            neck=dict(_delete_=True, type='viewplug.HCLNeck', hidden_channels=512, input_size=32, map_stride=4),
            head=dict(feat_dim=192),  # 128 + 64
        )
    )
)
