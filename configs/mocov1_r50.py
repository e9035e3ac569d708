# MoCo v1, ResNet-50, 200 epochs at batch 256 (arXiv:1911.05722), step schedule.
_base_ = [
    '_base_/default_runtime.py',
    '_base_/mocov1_r50.py',
    '_base_/views_mocov1.py',
    '_base_/sgd_200e.py',
    '_base_/in1k_labels.py',
]

param_scheduler = [dict(type='MultiStepLR', milestones=[120, 160], gamma=0.1, by_epoch=True, begin=0, end=200)]
