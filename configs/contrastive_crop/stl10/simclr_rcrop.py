# SimCLR with RandomCrop, STL-10: ContrastiveCrop, Table 1.
_base_ = [
    '../../_base_/default_runtime.py',
    '../../_base_/contrastive_crop_simclr.py',
    '../../_base_/stl10_mocov2.py',
    '../../_base_/contrastive_crop_500e.py',
]

work_dir = 'work_dirs/contrastive_crop/stl10/simclr_rcrop'
custom_hooks = [*_base_.custom_hooks, _base_.knn_hook]
