# SimCLR's optimiser (arXiv:2002.05709, sec. 2.2): LARS, lr 0.3 for every 256 images, weight decay 1e-6, ten epochs of
# warm-up, then a cosine without restarts; 100 epochs as in its ablations, --epochs 1000 for its best. Biases and
# norms are neither adapted nor decayed.
optim_wrapper = dict(
    type='OptimWrapper',
    constructor='viewplug.LARSConstructor',
    optimizer=dict(type='mmpretrain.LARS', lr=0.3, momentum=0.9, weight_decay=1e-6),
)
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-4, by_epoch=True, begin=0, end=10, convert_to_iter_based=True),
    dict(type='CosineAnnealingLR', T_max=90, by_epoch=True, begin=10, end=100, convert_to_iter_based=True),
]
train_cfg = dict(type='viewplug.EpochLoop', max_epochs=100)
# lr follows the images of a step, however many processes share them.
auto_scale_lr = dict(base_batch_size=256, enable=True)
