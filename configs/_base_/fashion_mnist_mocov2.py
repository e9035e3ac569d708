# Fashion-MNIST as three equal channels at 32 pixels (28 originally), from Debian's dataset-fashion-mnist or downloaded
# into data/fashion_mnist by mmpretrain. Cut and coloured as CIFAR-10; images are grey, so of its colour augmentation
# brightness and contrast are here, and saturation, hue and grayscale, which change nothing, are not.
_base_ = './views_mocov2.py'

data_preprocessor = dict(mean=[72.94] * 3, std=[90.02] * 3, to_rgb=False)

crop = dict(scale=32, crop_ratio_range=(0.2, 1.0), backend='pillow')
after_crop = [
    dict(type='RandomApply', transforms=[dict(type='viewplug.ColorJitter', brightness=0.4, contrast=0.4)], prob=0.8),
    dict(type='RandomFlip', prob=0.5),
]
view_pipeline = [dict(type='viewplug.RandomResizedCrop', **crop), *after_crop]
ccrop_pipeline = [dict(type='viewplug.ContrastiveCrop', alpha=0.1, **crop), *after_crop]

train_dataloader = dict(
    batch_size=256,
    num_workers=1,
    dataset=dict(
        _delete_=True,
        type='viewplug.FashionMNIST',
        split='train',
        pipeline=[dict(type='viewplug.MultiView', num_views=2, transforms=[view_pipeline]), _base_.pack_views],
    ),
)
without_flip = [dict(type='viewplug.MultiView', num_views=2, transforms=[view_pipeline[:-1]]), _base_.pack_views]
with_ccrop = [dict(type='viewplug.MultiView', num_views=2, transforms=[ccrop_pipeline]), _base_.pack_views]

whole_image = [dict(type='Resize', scale=(32, 32)), dict(type='PackInputs')]
labelled = dict(type='viewplug.FashionMNIST', pipeline=whole_image)
knn_hook = dict(
    type='viewplug.KNNHook',
    k=200,
    interval=10,
    train_dataloader=dict(batch_size=500, num_workers=0, dataset=dict(split='train', **labelled)),
    val_dataloader=dict(batch_size=500, num_workers=0, dataset=dict(split='test', **labelled)),
)
