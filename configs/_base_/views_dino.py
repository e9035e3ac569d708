# DINO's multi-crop (arXiv:2104.14294, sec. 3.1 and app. B): two global views and eight local ones of 96 pixels, BYOL's
# asymmetry of blur and solarisation between the global ones. Crops are those of DINO's code.
_base_ = './views_mocov2.py'

global_crop = dict(
    type='viewplug.RandomResizedCrop',
    scale=224,
    crop_ratio_range=(0.4, 1.0),
    interpolation='bicubic',
    backend='pillow',
)
local_crop = dict(global_crop, scale=96, crop_ratio_range=(0.05, 0.4))
after_crop = [
    dict(type='RandomFlip', prob=0.5),
    dict(
        type='RandomApply',
        transforms=[dict(type='viewplug.ColorJitter', brightness=0.4, contrast=0.4, saturation=0.2, hue=0.1)],
        prob=0.8,
    ),
    dict(type='viewplug.RandomGrayscale', prob=0.2, keep_channels=True, channel_weights=(0.114, 0.587, 0.2989)),
]
blur = dict(type='GaussianBlur', magnitude_range=(0.1, 2.0), magnitude_std='inf', prob=1.0)
after_first = [*after_crop, blur]
after_second = [*after_crop, dict(blur, prob=0.1), dict(type='Solarize', thr=128, prob=0.2)]
after_local = [*after_crop, dict(blur, prob=0.5)]

multi_crop = dict(
    type='viewplug.MultiView',
    num_views=[1, 1, 8],
    transforms=[[global_crop, *after_first], [global_crop, *after_second], [local_crop, *after_local]],
)
train_dataloader = dict(
    batch_size=64,  # times 16 processes
    dataset=dict(pipeline=[_base_.load_image, multi_crop, _base_.pack_views]),
)
