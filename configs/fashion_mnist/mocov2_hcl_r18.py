# HCL, second stage, on Fashion-MNIST: 128 semantic + 8 x 8 spatial numbers. Run with --stages.
_base_ = 'mocov2_r18.py'

stage1_config = 'mocov2_r18.py'
stage1_epochs = 200
stage2_epochs = 200
load_from = 'work_dirs/mocov2_r18/epoch_200.pth'

model = dict(
    branches=dict(
        image=dict(
            neck=dict(_delete_=True, type='viewplug.HCLNeck', hidden_channels=512, input_size=32, map_stride=4),
            head=dict(feat_dim=192),  # 128 + 64
        )
    )
)

view_pipeline = _base_.view_pipeline[:-1]  # no horizontal flip (HCL, sec. 4.3.3)
train_dataloader = dict(
    dataset=dict(pipeline=[dict(type='viewplug.MultiView', num_views=2, transforms=[view_pipeline]), _base_.pack_views])
)
custom_hooks = [*_base_.custom_hooks, _base_.carry_over]
