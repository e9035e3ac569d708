# Table 3 of SimCLR (arXiv:2002.05709), first row: crop and colour distortion alone, g(h) as long as h, 2048.
_base_ = './r50_b4096.py'

# r50_b4096's views without blur.
view_pipeline = [
    dict(type='viewplug.RandomResizedCrop', scale=224, crop_ratio_range=(0.08, 1.0), backend='pillow'),
    dict(type='RandomFlip', prob=0.5),
    dict(
        type='RandomApply',
        transforms=[dict(type='viewplug.ColorJitter', brightness=0.8, contrast=0.8, saturation=0.8, hue=0.2)],
        prob=0.8,
    ),
    dict(type='viewplug.RandomGrayscale', prob=0.2, keep_channels=True, channel_weights=(0.114, 0.587, 0.2989)),
]
model = dict(branches=dict(image=dict(neck=dict(out_channels=2048))))
train_dataloader = dict(
    dataset=dict(
        pipeline=[
            _base_.load_image,
            dict(type='viewplug.MultiView', num_views=2, transforms=[view_pipeline]),
            _base_.pack_views,
        ]
    )
)
