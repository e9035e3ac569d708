# ReSim-C4 on SimSiam, ResNet-50, IN-1K, 200 epochs at batch 256, lr 0.1 (ReSim, Table 7); predictors' lr constant.
_base_ = [
    '../_base_/default_runtime.py',
    '../_base_/simsiam_resim_c4_r50.py',
    '../_base_/in1k_resim.py',
    '../_base_/sgd_200e.py',
]

optim_wrapper = dict(optimizer=dict(lr=0.1), paramwise_cfg=_base_.predictor_lr)
custom_hooks = [*_base_.custom_hooks, _base_.predictor_lr_hook]
