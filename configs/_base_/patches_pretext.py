# A folder of images, upright, for tasks that ask how they were transformed. Images are BGR until the data_preprocessor.
data_preprocessor = dict(
    type='viewplug.ViewsDataPreprocessor',
    mean=[123.675, 116.28, 103.53],
    std=[58.395, 57.12, 57.375],
    to_rgb=True,
)

load_image = dict(type='LoadImageFromFile')
flip = dict(type='RandomFlip', prob=0.5)
pack = dict(type='viewplug.PackViews')

# Jigsaw (arXiv:1603.09246, sec. 4): 225 of 256 pixels, a tile of 64 pixels somewhere in each of 3 x 3 cells of 75; of
# ten images three are grey, which with the gaps is the guard against chromatic aberration.
grey = dict(type='viewplug.RandomGrayscale', prob=0.3, keep_channels=True, channel_weights=(0.114, 0.587, 0.2989))
tiles = [
    load_image,
    dict(type='ResizeEdge', scale=256, edge='short', backend='pillow'),
    dict(type='RandomCrop', crop_size=225),
    grey,
    dict(type='viewplug.PatchGrid', patch_size=64, stride=75, jitter=11),
    pack,
]
# Relative position (arXiv:1505.05192, sec. 3): patches of 96 pixels, 48 apart, shifted by up to 7 pixels to all sides;
# a patch keeps one colour, noise is in the place of the others.
neighbours = [
    load_image,
    dict(type='ResizeEdge', scale=450, edge='short', backend='pillow'),
    dict(type='RandomCrop', crop_size=398),
    dict(
        type='viewplug.PatchGrid',
        patch_size=96,
        stride=144,
        jitter=14,
        transforms=[dict(type='viewplug.DropColours', prob=1.0, fill='noise')],
    ),
    pack,
]
turns = [
    load_image,
    dict(type='RandomResizedCrop', scale=224, crop_ratio_range=(0.08, 1.0), backend='pillow'),
    flip,
    pack,
]

train_dataloader = dict(
    batch_size=32,  # times 8 processes
    num_workers=8,
    persistent_workers=False,  # so that a resumed run repeats the unbroken one exactly
    pin_memory=True,
    drop_last=True,
    sampler=dict(type='DefaultSampler', shuffle=True),
    collate_fn=dict(type='default_collate'),
    dataset=dict(type='viewplug.ImageFolder', data_root='data/imagenet/train', pipeline=turns),
)
