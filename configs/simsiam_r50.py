# SimSiam, ResNet-50, 100 epochs at batch 512 (arXiv:2011.10566, sec. 3): lr 0.05 * 512 / 256, the predictor's constant.
_base_ = [
    '_base_/default_runtime.py',
    '_base_/simsiam_r50.py',
    '_base_/views_mocov2.py',
    '_base_/sgd_200e.py',
    '_base_/in1k_labels.py',
]

train_dataloader = dict(batch_size=64)  # times 8 processes

optim_wrapper = dict(optimizer=dict(lr=0.1), paramwise_cfg=_base_.predictor_lr)
param_scheduler = [
    dict(type='CosineAnnealingLR', T_max=100, by_epoch=True, begin=0, end=100, convert_to_iter_based=True)
]
train_cfg = dict(max_epochs=100)
auto_scale_lr = dict(base_batch_size=512)
custom_hooks = [*_base_.custom_hooks, _base_.predictor_lr_hook]
