# BYOL, ResNet-50, 1000 epochs at batch 4096 with LARS (arXiv:2006.07733, sec. 3.2): lr 0.2 * 4096 / 256, ten epochs of
# warm-up, momentum 0.996 to 1. Its 300 epochs take lr 0.3 * 4096 / 256, weight decay 1e-6 and momentum 0.99.
_base_ = [
    '_base_/default_runtime.py',
    '_base_/byol_r50.py',
    '_base_/views_mocov2.py',
    '_base_/sgd_200e.py',
    '_base_/in1k_labels.py',
]

# Table 6: the first view is always blurred, the second rarely blurred and sometimes solarised.
cut = [
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
        transforms=[dict(type='viewplug.ColorJitter', brightness=0.4, contrast=0.4, saturation=0.2, hue=0.1)],
        prob=0.8,
    ),
    dict(type='viewplug.RandomGrayscale', prob=0.2, keep_channels=True, channel_weights=(0.114, 0.587, 0.2989)),
]
first_view = [*cut, dict(type='GaussianBlur', magnitude_range=(0.1, 2.0), magnitude_std='inf', prob=1.0)]
second_view = [
    *cut,
    dict(type='GaussianBlur', magnitude_range=(0.1, 2.0), magnitude_std='inf', prob=0.1),
    dict(type='Solarize', thr=128, prob=0.2),
]
train_dataloader = dict(
    batch_size=256,  # times 16 processes
    dataset=dict(
        pipeline=[
            _base_.load_image,
            dict(type='viewplug.MultiView', num_views=[1, 1], transforms=[first_view, second_view]),
            _base_.pack_views,
        ]
    ),
)

optim_wrapper = dict(
    constructor='viewplug.LARSConstructor',  # neither adaptation nor weight decay for biases and norms
    optimizer=dict(_delete_=True, type='LARS', lr=3.2, momentum=0.9, weight_decay=1.5e-6),
)
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-4, by_epoch=True, begin=0, end=10, convert_to_iter_based=True),
    dict(type='CosineAnnealingLR', T_max=990, by_epoch=True, begin=10, end=1000, convert_to_iter_based=True),
]
train_cfg = dict(max_epochs=1000)
auto_scale_lr = dict(base_batch_size=4096)
