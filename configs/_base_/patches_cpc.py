# A folder of images, cut into patches as CPC cuts them. Images are BGR until the data_preprocessor.
# v1 (arXiv:1807.03748, sec. 3.3): 256 of 300 pixels, 7 x 7 patches of 64 pixels at stride 32, each jittered by a crop
# of 60 pixels that is padded again. v2 (arXiv:1905.09272, sec. 4.1): 260 pixels, 6 x 6 patches of 80 pixels at stride
# 36. OUR CHOICE: a quarter of the images grey, where v1 turns all of them grey.
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
coloured_260 = [load_image, resize, dict(type='RandomCrop', crop_size=260), flip]  # grey comes patch by patch
jitter_64 = [dict(type='RandomCrop', crop_size=60), dict(type='Pad', size=(64, 64))]
jitter_80 = [dict(type='RandomCrop', crop_size=75), dict(type='Pad', size=(80, 80))]
# RC: two of three channels; how often is ours, the paper does not say.
drop_colours = [dict(type='viewplug.DropColours', prob=0.5)]
# PA (app. A.1): on each patch two of AutoAugment's operators (in mmpretrain's, each would come in half of the cases
# unless told otherwise), colours as Szegedy et al. (2014) change them on 0.8 of the patches, grey on a quarter. Not
# among them: cutout, sample pairing, and what the paper takes from De Fauw et al. (elastic deformation, histograms).
patch_augmentation = [
    dict(
        type='RandAugment',
        num_policies=2,
        total_level=10,
        magnitude_level=10,
        magnitude_std='inf',  # uniform over the range
        policies=[
            dict(type='Shear', magnitude_range=(0, 0.3), direction='horizontal', prob=1.0),
            dict(type='Shear', magnitude_range=(0, 0.3), direction='vertical', prob=1.0),
            dict(type='Translate', magnitude_range=(0, 0.45), direction='horizontal', prob=1.0),
            dict(type='Translate', magnitude_range=(0, 0.45), direction='vertical', prob=1.0),
            dict(type='Rotate', magnitude_range=(0, 30), prob=1.0),
            dict(type='AutoContrast', prob=1.0),
            dict(type='Invert', prob=1.0),
            dict(type='Equalize', prob=1.0),
            dict(type='Solarize', magnitude_range=(256, 0), prob=1.0),
            dict(type='Posterize', magnitude_range=(8, 4), prob=1.0),
            dict(type='Contrast', magnitude_range=(0, 0.9), prob=1.0),
            dict(type='ColorTransform', magnitude_range=(0, 0.9), prob=1.0),
            dict(type='Brightness', magnitude_range=(0, 0.9), prob=1.0),
            dict(type='Sharpness', magnitude_range=(0, 0.9), prob=1.0),
        ],
    ),
    dict(
        type='RandomApply',
        transforms=[dict(type='viewplug.ColorJitter', brightness=0.125, contrast=0.5, saturation=0.5, hue=0.2)],
        prob=0.8,
    ),
    grey,
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
