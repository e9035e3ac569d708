# SimSiam with RandomCrop, IN-200: ContrastiveCrop, Table 2.
_base_ = [
    '../../_base_/default_runtime.py',
    '../../_base_/simsiam_r50.py',
    '../../_base_/in200_mocov2.py',
    '../../_base_/contrastive_crop_100e.py',
]

work_dir = 'work_dirs/contrastive_crop/in200/simsiam_rcrop'
train_dataloader = dict(batch_size=64)  # times 8 processes
optim_wrapper = dict(optimizer=dict(lr=0.1), paramwise_cfg=_base_.predictor_lr)
auto_scale_lr = dict(base_batch_size=512)
custom_hooks = [*_base_.custom_hooks, _base_.predictor_lr_hook]
