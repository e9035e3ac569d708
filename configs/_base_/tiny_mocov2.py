# Tiny ImageNet at 64 pixels, cut as MoCo v2 does but for the blur. It is downloaded into data/tiny-imagenet-200.
_base_ = './views_mocov2.py'

data_preprocessor = dict(mean=[122.451, 114.266, 101.363], std=[58.701, 57.758, 57.681])

crop = dict(scale=64, crop_ratio_range=(0.2, 1.0), backend='pillow')
after_crop = [step for step in _base_.view_pipeline[1:] if step['type'] != 'GaussianBlur']
view_pipeline = [dict(type='viewplug.RandomResizedCrop', **crop), *after_crop]
ccrop_pipeline = [dict(type='viewplug.ContrastiveCrop', alpha=0.1, **crop), *after_crop]

train_dataloader = dict(
    batch_size=512,
    num_workers=8,
    dataset=dict(
        _delete_=True,
        type='viewplug.TinyImageNet',
        data_root='data',
        split='train',
        pipeline=[
            _base_.load_image,
            dict(type='viewplug.MultiView', num_views=2, transforms=[view_pipeline]),
            _base_.pack_views,
        ],
    ),
)
with_ccrop = [
    _base_.load_image,
    dict(type='viewplug.MultiView', num_views=2, transforms=[ccrop_pipeline]),
    _base_.pack_views,
]

labelled = dict(type='viewplug.TinyImageNet', data_root='data', pipeline=[_base_.load_image, dict(type='PackInputs')])
knn_hook = dict(
    type='viewplug.KNNHook',
    k=200,
    interval=10,
    train_dataloader=dict(batch_size=500, num_workers=8, dataset=dict(split='train', **labelled)),
    val_dataloader=dict(batch_size=500, num_workers=8, dataset=dict(split='val', **labelled)),
)
