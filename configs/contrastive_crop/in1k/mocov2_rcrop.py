# MoCo v2 with RandomCrop, ImageNet-1K: ContrastiveCrop, Table 2.
_base_ = [
    '../../_base_/default_runtime.py',
    '../../_base_/moco_r50.py',
    '../../_base_/in1k_mocov2.py',
    '../../_base_/contrastive_crop_100e.py',
]

work_dir = 'work_dirs/contrastive_crop/in1k/mocov2_rcrop'
