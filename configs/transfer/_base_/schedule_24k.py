# VOC: 24k iterations, x0.1 at 18k and 22k, 100 of warm-up (MoCo's config).
_base_ = 'sgd_detectron2.py'
param_scheduler = [
    dict(type='LinearLR', start_factor=0.001, by_epoch=False, begin=0, end=100),
    dict(type='MultiStepLR', by_epoch=False, begin=0, end=24000, milestones=[18000, 22000], gamma=0.1),
]
train_cfg = dict(type='IterBasedTrainLoop', max_iters=24000, val_interval=24000)
