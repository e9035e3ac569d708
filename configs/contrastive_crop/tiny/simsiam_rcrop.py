# SimSiam with RandomCrop, Tiny ImageNet: ContrastiveCrop, Table 1.
_base_ = [
    '../../_base_/default_runtime.py',
    '../../_base_/contrastive_crop_simsiam.py',
    '../../_base_/tiny_mocov2.py',
    '../../_base_/contrastive_crop_500e.py',
]

work_dir = 'work_dirs/contrastive_crop/tiny/simsiam_rcrop'
optim_wrapper = dict(paramwise_cfg=_base_.predictor_lr)
custom_hooks = [*_base_.custom_hooks, _base_.knn_hook, _base_.predictor_lr_hook]
