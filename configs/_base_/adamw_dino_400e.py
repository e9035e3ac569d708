# DINO's schedule for ViT-B: 400 epochs, learning rates of its own, prototypes fixed for three epochs.
_base_ = './adamw_dino_800e.py'

optim_wrapper = dict(optimizer=dict(lr=3e-3))  # 7.5e-4 * 1024 / 256
param_scheduler = [
    _base_.param_scheduler[0],
    dict(_base_.param_scheduler[1], T_max=390, end=400, eta_min=2e-6),
    dict(_base_.param_scheduler[2], T_max=400, end=400),
]
train_cfg = dict(max_epochs=400)
dino_hooks = [
    dict(type='viewplug.FreezeLastLayerHook', epochs=3),
    dict(type='viewplug.ClipEachGradientHook', max_norm=3.0),
]
