# ReSim-FPN on SimSiam, ResNet-50, IN-100, 500 epochs (ReSim, Table 2 and Table 7); predictors' lr constant.
_base_ = [
    '../_base_/default_runtime.py',
    '../_base_/simsiam_resim_fpn_r50.py',
    '../_base_/in1k_resim.py',
    '../_base_/in100.py',
]

optim_wrapper = dict(optimizer=dict(lr=0.1), paramwise_cfg=_base_.predictor_lr)
custom_hooks = [*_base_.custom_hooks, _base_.predictor_lr_hook]
train_dataloader = dict(dataset=_base_.in100)
knn_hook = dict(train_dataloader=dict(dataset=_base_.in100), val_dataloader=dict(dataset=_base_.in100))
