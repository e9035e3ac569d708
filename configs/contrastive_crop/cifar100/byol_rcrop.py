# BYOL with RandomCrop, CIFAR-100: ContrastiveCrop, Table 1.
_base_ = [
    '../../_base_/default_runtime.py',
    '../../_base_/contrastive_crop_byol.py',
    '../../_base_/cifar100_mocov2.py',
    '../../_base_/contrastive_crop_500e.py',
]

work_dir = 'work_dirs/contrastive_crop/cifar100/byol_rcrop'
custom_hooks = [*_base_.custom_hooks, _base_.knn_hook]
