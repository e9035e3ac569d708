# SimCLR's optimiser (arXiv:2002.05709, sec. 2.2): LARS, lr 0.3 for every 256 images, weight decay 1e-6, ten epochs of
# warm-up, then a cosine without restarts; 100 epochs as in its ablations, --epochs 1000 for its best. Biases and batch
# norm are neither adapted nor decayed.
excluded = dict(lars_exclude=True, decay_mult=0.0)
optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(type='mmpretrain.LARS', lr=0.3, momentum=0.9, weight_decay=1e-6),
    # The backbone's norms by name; in the projector, layers 1 and 4 are norms.
    paramwise_cfg=dict(
        custom_keys={
            'bias': excluded,
            'bn': excluded,
            'downsample.1': excluded,
            'neck.mlp.1.': excluded,
            'neck.mlp.4.': excluded,
        }
    ),
)
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-4, by_epoch=True, begin=0, end=10, convert_to_iter_based=True),
    dict(type='CosineAnnealingLR', T_max=90, by_epoch=True, begin=10, end=100, convert_to_iter_based=True),
]
train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=100)
# lr follows the images of a step, however many processes share them.
auto_scale_lr = dict(base_batch_size=256, enable=True)
