# ReSim on MoCo v2, CIFAR-10: the third of four stages (stride 4, 8 x 8 positions), windows of 3 x 3 positions as on C4.
_base_ = [
    '../_base_/default_runtime.py',
    '../_base_/moco_r18_32px.py',
    '../_base_/cifar10_mocov2.py',
    '../_base_/sgd_200e_32px.py',
]

auto_scale_lr = dict(base_batch_size=512)  # 0.06 is for the 512 images of a step here
model = dict(
    branches=dict(
        region=dict(
            neck=dict(type='viewplug.RegionNeck', stages=(4,), hidden_channels=128, out_channels=128),
            head=dict(
                type='viewplug.RegionHead',
                input_size=32,
                window=12,
                stride=4,
                downsample=4,
                loss=dict(type='viewplug.InfoNCELoss', temperature=0.1),
            ),
        )
    )
)
train_dataloader = dict(
    dataset=dict(
        pipeline=[
            dict(type='viewplug.MultiView', num_views=2, transforms=[_base_.view_pipeline[:-1]], shared_flip=0.5),
            _base_.pack_views,
        ]
    )
)
custom_hooks = [*_base_.custom_hooks, _base_.knn_hook]
