# SimCLR, ResNet-50, 200 epochs at batch 512 and lr 0.05, as ContrastiveCrop reproduces it (sec. 4.2); --epochs 100 is
# the length of its Table 2. Augmentation is SimCLR's (arXiv:2002.05709, app. A).
_base_ = ['_base_/default_runtime.py', '_base_/simclr_r50.py', '_base_/views_mocov2.py', '_base_/sgd_200e.py']

view_pipeline = [
    dict(type='viewplug.RandomResizedCrop', scale=224, crop_ratio_range=(0.08, 1.0), backend='pillow'),
    dict(type='RandomFlip', prob=0.5),
    dict(
        type='RandomApply',
        transforms=[dict(type='ColorJitter', brightness=0.8, contrast=0.8, saturation=0.8, hue=0.2)],
        prob=0.8,
    ),
    dict(type='RandomGrayscale', prob=0.2, keep_channels=True, channel_weights=(0.114, 0.587, 0.2989)),
    dict(type='GaussianBlur', magnitude_range=(0.1, 2.0), magnitude_std='inf', prob=0.5),
]
train_dataloader = dict(
    batch_size=64,  # times 8 processes
    dataset=dict(
        pipeline=[
            _base_.load_image,
            dict(type='viewplug.MultiView', num_views=2, transforms=[view_pipeline]),
            _base_.pack_views,
        ]
    ),
)

optim_wrapper = dict(optimizer=dict(lr=0.05))
auto_scale_lr = dict(base_batch_size=512)
