# A folder of images, cut as SimCLR cuts it (arXiv:2002.05709, app. A; bicubic as its code).
_base_ = './views_mocov2.py'

view_pipeline = [
    dict(
        type='viewplug.RandomResizedCrop',
        scale=224,
        crop_ratio_range=(0.08, 1.0),
        interpolation='bicubic',
        backend='pillow',
    ),
    dict(type='RandomFlip', prob=0.5),
    dict(
        type='RandomApply',
        transforms=[dict(type='viewplug.ColorJitter', brightness=0.8, contrast=0.8, saturation=0.8, hue=0.2)],
        prob=0.8,
    ),
    dict(type='viewplug.RandomGrayscale', prob=0.2, keep_channels=True, channel_weights=(0.114, 0.587, 0.2989)),
    dict(type='GaussianBlur', magnitude_range=(0.1, 2.0), magnitude_std='inf', prob=0.5),
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
