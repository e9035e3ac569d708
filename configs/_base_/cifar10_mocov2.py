# CIFAR-10 at 32 pixels, cut as MoCo v2 does but for the blur. mmpretrain downloads it into data/cifar10.
_base_ = './views_mocov2.py'

data_preprocessor = dict(mean=[125.307, 122.961, 113.8575], std=[51.5865, 50.847, 51.255], to_rgb=False)

crop = dict(scale=32, crop_ratio_range=(0.2, 1.0), backend='pillow')
after_crop = [
    dict(
        type='RandomApply',
        transforms=[
            dict(type='viewplug.ColorJitter', brightness=0.4, contrast=0.4, saturation=0.4, hue=0.1, color_format='rgb')
        ],
        prob=0.8,
    ),
    dict(type='viewplug.RandomGrayscale', prob=0.2, keep_channels=True, channel_weights=(0.2989, 0.587, 0.114)),
    dict(type='RandomFlip', prob=0.5),
]
view_pipeline = [dict(type='viewplug.RandomResizedCrop', **crop), *after_crop]
ccrop_pipeline = [dict(type='viewplug.ContrastiveCrop', alpha=0.1, **crop), *after_crop]

train_dataloader = dict(
    batch_size=512,
    num_workers=4,
    dataset=dict(
        _delete_=True,
        type='CIFAR10',
        data_root='data/cifar10',
        split='train',
        pipeline=[dict(type='viewplug.MultiView', num_views=2, transforms=[view_pipeline]), _base_.pack_views],
    ),
)
without_flip = [dict(type='viewplug.MultiView', num_views=2, transforms=[view_pipeline[:-1]]), _base_.pack_views]
with_ccrop = [dict(type='viewplug.MultiView', num_views=2, transforms=[ccrop_pipeline]), _base_.pack_views]

labelled = dict(type='CIFAR10', data_root='data/cifar10', pipeline=[dict(type='PackInputs')])
knn_hook = dict(
    type='viewplug.KNNHook',
    k=200,
    interval=10,
    train_dataloader=dict(batch_size=500, num_workers=2, dataset=dict(split='train', **labelled)),
    val_dataloader=dict(batch_size=500, num_workers=2, dataset=dict(split='test', **labelled)),
)
