# COCO 2x: 180k iterations, x0.1 at 120k and 160k, 1000 of warm-up.
_base_ = 'sgd_detectron2.py'
param_scheduler = [
    dict(type='LinearLR', start_factor=0.001, by_epoch=False, begin=0, end=1000),
    dict(type='MultiStepLR', by_epoch=False, begin=0, end=180000, milestones=[120000, 160000], gamma=0.1),
]
train_cfg = dict(type='IterBasedTrainLoop', max_iters=180000, val_interval=60000)
