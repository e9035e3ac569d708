# DINO's schedule for ViT-S, batch 1024: lr 5e-4 * batch / 256, ten epochs of warm-up, cosine to 1e-5 (the released
# run's; the default of the code is 1e-6); weight decay 0.04 to 0.4, none for biases and norm layers; gradients clipped
# one parameter at a time; prototypes fixed for an epoch.
optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(type='AdamW', lr=2e-3, weight_decay=0.04),
    paramwise_cfg=dict(norm_decay_mult=0.0, bias_decay_mult=0.0, flat_decay_mult=0.0),
)
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-5, by_epoch=True, begin=0, end=10, convert_to_iter_based=True),
    dict(
        type='CosineAnnealingLR', T_max=790, eta_min=1e-5, by_epoch=True, begin=10, end=800, convert_to_iter_based=True
    ),
    # a ratio, so that groups without weight decay stay without
    dict(
        type='CosineAnnealingParamScheduler',
        param_name='weight_decay',
        eta_min_ratio=10.0,
        T_max=800,
        by_epoch=True,
        begin=0,
        end=800,
        convert_to_iter_based=True,
    ),
]
train_cfg = dict(type='viewplug.EpochLoop', max_epochs=800)
auto_scale_lr = dict(base_batch_size=1024)

dino_hooks = [
    dict(type='viewplug.FreezeLastLayerHook', epochs=1),
    dict(type='viewplug.ClipEachGradientHook', max_norm=3.0),
]
