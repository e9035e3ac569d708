# MoCo v1's augmentation (arXiv:1911.05722, sec. 3.3): crop, grayscale, stronger jitter, flip, no blur.
_base_ = './views_mocov2.py'

view_pipeline = [
    dict(type='viewplug.RandomResizedCrop', scale=224, crop_ratio_range=(0.2, 1.0), backend='pillow'),
    dict(type='viewplug.RandomGrayscale', prob=0.2, keep_channels=True, channel_weights=(0.114, 0.587, 0.2989)),
    dict(type='viewplug.ColorJitter', brightness=0.4, contrast=0.4, saturation=0.4, hue=0.4),
    dict(type='RandomFlip', prob=0.5),
]
train_dataloader = dict(
    dataset=dict(
        pipeline=[
            _base_.load_image,
            dict(type='viewplug.MultiView', num_views=2, transforms=[view_pipeline]),
            _base_.pack_views,
        ]
    )
)
