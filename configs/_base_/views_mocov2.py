# A folder of images, cut as MoCo v2 cuts it (arXiv:2003.04297; the numbers are SimCLR's, arXiv:2002.05709, app. A).
# tools/train.py --data-root replaces the folder. Images are BGR until the data_preprocessor.
data_preprocessor = dict(
    type='viewplug.ViewsDataPreprocessor',
    mean=[123.675, 116.28, 103.53],
    std=[58.395, 57.12, 57.375],
    to_rgb=True,
)

load_image = dict(type='LoadImageFromFile')
view_pipeline = [
    dict(type='viewplug.RandomResizedCrop', scale=224, crop_ratio_range=(0.2, 1.0), backend='pillow'),
    dict(
        type='RandomApply',
        transforms=[dict(type='viewplug.ColorJitter', brightness=0.4, contrast=0.4, saturation=0.4, hue=0.1)],
        prob=0.8,
    ),
    dict(type='viewplug.RandomGrayscale', prob=0.2, keep_channels=True, channel_weights=(0.114, 0.587, 0.2989)),
    dict(type='GaussianBlur', magnitude_range=(0.1, 2.0), magnitude_std='inf', prob=0.5),
    dict(type='RandomFlip', prob=0.5),
]
pack_views = dict(type='PackInputs', meta_keys=('sample_idx', 'img_path', 'ori_shape', 'img_shape', 'crop_box', 'flip'))

train_dataloader = dict(
    batch_size=32,  # times 8 processes
    num_workers=8,
    persistent_workers=False,  # so that a resumed run repeats the unbroken one exactly
    pin_memory=True,
    drop_last=True,
    sampler=dict(type='DefaultSampler', shuffle=True),
    collate_fn=dict(type='default_collate'),
    dataset=dict(
        type='viewplug.ImageFolder',
        data_root='data/imagenet/train',
        pipeline=[load_image, dict(type='viewplug.MultiView', num_views=2, transforms=[view_pipeline]), pack_views],
    ),
)
