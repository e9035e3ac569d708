# DINO on ResNet-50, 100 epochs at batch 512, as the authors' README has it: SGD without a schedule of the weight decay,
# smaller crops, the target's temperature at 0.04 throughout. Their released network was trained otherwise: 800 epochs
# of LARS at batch 4080, batch norm in the projection, 0.04 to 0.07 over 50 epochs, six local views.
_base_ = [
    '../_base_/default_runtime.py',
    '../_base_/dino_vit_small.py',
    '../_base_/views_dino.py',
    '../_base_/in1k_labels.py',
    '../_base_/adamw_dino_800e.py',
]

work_dir = 'work_dirs/adclr/dino_r50_in1k'
model = dict(
    backbone=dict(
        _delete_=True,
        type='mmpretrain.ResNet',
        depth=50,
        norm_cfg=dict(type='BN'),
        zero_init_residual=False,
        out_indices=(0, 1, 2, 3),
    ),
    branches=dict(
        cls=dict(neck=dict(norm_last_layer=True), head=dict(teacher_temperature=0.04, warmup_epochs=0)),
    ),
)
sync_bn = 'torch'  # batch norm over all GPUs
first_crop = {**_base_.global_crop, 'crop_ratio_range': (0.14, 1.0)}
small_crop = {**_base_.local_crop, 'crop_ratio_range': (0.05, 0.14)}
multi_crop = dict(
    transforms=[
        [first_crop, *_base_.after_first],
        [first_crop, *_base_.after_second],
        [small_crop, *_base_.after_local],
    ]
)
train_dataloader = dict(
    dataset=dict(pipeline=[_base_.load_image, {**_base_.multi_crop, **multi_crop}, _base_.pack_views])
)

optim_wrapper = dict(
    optimizer=dict(_delete_=True, type='SGD', lr=0.06, momentum=0.9, weight_decay=1e-4),  # 0.03 * 512 / 256
)
param_scheduler = [
    _base_.param_scheduler[0],
    dict(
        type='CosineAnnealingLR', T_max=90, eta_min=1e-6, by_epoch=True, begin=10, end=100, convert_to_iter_based=True
    ),
]
train_cfg = dict(max_epochs=100)
auto_scale_lr = dict(base_batch_size=512)
custom_hooks = [*_base_.custom_hooks, *_base_.dino_hooks]
