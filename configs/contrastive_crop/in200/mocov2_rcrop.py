# MoCo v2 with RandomCrop, IN-200: ContrastiveCrop, Table 2.
_base_ = [
    '../../_base_/default_runtime.py',
    '../../_base_/moco_r50.py',
    '../../_base_/in200_mocov2.py',
    '../../_base_/contrastive_crop_100e.py',
]

work_dir = 'work_dirs/contrastive_crop/in200/mocov2_rcrop'
