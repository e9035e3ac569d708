# MoCo v1 with RandomCrop, IN-200: ContrastiveCrop, Table 2.
_base_ = [
    '../../_base_/default_runtime.py',
    '../../_base_/mocov1_r50.py',
    '../../_base_/in200_mocov1.py',
    '../../_base_/contrastive_crop_100e.py',
]

work_dir = 'work_dirs/contrastive_crop/in200/mocov1_rcrop'
param_scheduler = [dict(type='MultiStepLR', milestones=[60, 80], gamma=0.1, by_epoch=True, begin=0, end=100)]
