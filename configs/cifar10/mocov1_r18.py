# MoCo v1, ResNet-18, CIFAR-10: linear projection and v1's stronger jitter.
_base_ = 'mocov2_r18.py'

work_dir = 'work_dirs/cifar10/mocov1_r18'

model = dict(
    branches=dict(image=dict(neck=dict(_delete_=True, type='viewplug.MLPNeck', out_channels=128, num_layers=1)))
)

view_pipeline = [
    dict(type='viewplug.RandomResizedCrop', scale=32, crop_ratio_range=(0.2, 1.0), backend='pillow'),
    dict(type='viewplug.RandomGrayscale', prob=0.2, keep_channels=True, channel_weights=(0.2989, 0.587, 0.114)),
    dict(type='viewplug.ColorJitter', brightness=0.4, contrast=0.4, saturation=0.4, hue=0.4, color_format='rgb'),
    dict(type='RandomFlip', prob=0.5),
]
train_dataloader = dict(
    dataset=dict(pipeline=[dict(type='viewplug.MultiView', num_views=2, transforms=[view_pipeline]), _base_.pack_views])
)
