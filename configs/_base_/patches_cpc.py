# A folder of images, cut into patches as CPC cuts them. Images are BGR until the data_preprocessor.
# v1 (arXiv:1807.03748, sec. 3.3): 256 of 300 pixels, 7 x 7 patches of 64 pixels at stride 32, each jittered by a crop
# of 60 pixels that is padded again. v2 (arXiv:1905.09272, sec. 4.1): 260 pixels, 6 x 6 patches of 80 pixels at stride
# 36.
data_preprocessor = dict(
    type='viewplug.ViewsDataPreprocessor',
    mean=[123.675, 116.28, 103.53],
    std=[58.395, 57.12, 57.375],
    to_rgb=True,
)

load_image = dict(type='LoadImageFromFile')
resize = dict(type='ResizeEdge', scale=300, edge='short', backend='pillow')
flip = dict(type='RandomFlip', prob=0.5)
grey = dict(type='viewplug.RandomGrayscale', prob=0.25, keep_channels=True, channel_weights=(0.114, 0.587, 0.2989))
whole_256 = [load_image, resize, dict(type='RandomCrop', crop_size=256), flip, grey]
whole_260 = [load_image, resize, dict(type='RandomCrop', crop_size=260), flip, grey]
jitter_64 = [dict(type='RandomCrop', crop_size=60), dict(type='Pad', size=(64, 64))]
jitter_80 = [dict(type='RandomCrop', crop_size=75), dict(type='Pad', size=(80, 80))]
# RC: two of three channels; how often is ours, the paper does not say.
drop_colours = [dict(type='viewplug.DropColours', prob=0.5)]
# PA: two of AutoAugment's operators a patch. The paper's elastic deformation is not among them.
patch_augmentation = [
    dict(
        type='RandAugment',
        num_policies=2,
        total_level=10,
        magnitude_level=5,
        magnitude_std=1.0,
        policies=[
            dict(type='Shear', magnitude_range=(0, 0.3), direction='horizontal'),
            dict(type='Translate', magnitude_range=(0, 0.2), direction='horizontal'),
            dict(type='Rotate', magnitude_range=(0, 30)),
            dict(type='AutoContrast'),
            dict(type='Invert'),
            dict(type='Equalize'),
            dict(type='Solarize', magnitude_range=(256, 0)),
            dict(type='Posterize', magnitude_range=(8, 4)),
            dict(type='ColorTransform', magnitude_range=(0, 0.9)),
            dict(type='Brightness', magnitude_range=(0, 0.9)),
            dict(type='Sharpness', magnitude_range=(0, 0.9)),
        ],
    )
]
pack_patches = dict(type='viewplug.PackViews')

train_dataloader = dict(
    batch_size=16,  # times 32 processes
    num_workers=16,
    persistent_workers=False,  # so that a resumed run repeats the unbroken one exactly
    pin_memory=True,
    drop_last=True,
    sampler=dict(type='DefaultSampler', shuffle=True),
    collate_fn=dict(type='default_collate'),
    dataset=dict(
        type='viewplug.ImageFolder',
        data_root='data/imagenet/train',
        pipeline=[
            *whole_256,
            dict(type='viewplug.PatchGrid', patch_size=64, stride=32, transforms=jitter_64),
            pack_patches,
        ],
    ),
)
