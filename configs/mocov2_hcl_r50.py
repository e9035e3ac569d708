# HCL, second stage: 200 epochs from MoCo v2's weights (HCL, sec. 4.1). `tools/train.py THIS --stages` runs both stages;
# Table 6 varies stage1_epochs and stage2_epochs (--cfg-options stage1_epochs=800 ...).
_base_ = 'mocov2_r50.py'

stage1_config = 'mocov2_r50.py'
stage1_epochs = 200
stage2_epochs = 200
load_from = 'work_dirs/mocov2_r50/epoch_200.pth'

model = dict(
    branches=dict(
        image=dict(
            neck=dict(
                _delete_=True,
                type='viewplug.HCLNeck',
                semantic_channels=128,
                hidden_channels=2048,
                input_size=224,
                map_stride=16,  # 14 x 14 = 196
            ),
            head=dict(feat_dim=324),  # 128 + 196
        )
    )
)

view_pipeline = _base_.view_pipeline[:-1]  # no horizontal flip: it costs 0.4 AP (sec. 4.3.3)
train_dataloader = dict(
    dataset=dict(
        pipeline=[
            _base_.load_image,
            dict(type='viewplug.MultiView', num_views=2, transforms=[view_pipeline]),
            _base_.pack_views,
        ]
    )
)

optim_wrapper = dict(optimizer=dict(lr=0.05))
custom_hooks = [*_base_.custom_hooks, _base_.carry_over]
