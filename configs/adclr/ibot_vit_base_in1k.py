# iBOT, ViT-B/16, ImageNet-1K, 400 epochs at batch 1024 (arXiv:2111.07832, app. A): crops from 0.32 of the image.
_base_ = [
    '../_base_/default_runtime.py',
    '../_base_/ibot_vit_small.py',
    '../_base_/views_ibot.py',
    '../_base_/in1k_labels.py',
    '../_base_/adamw_dino_400e.py',
]

work_dir = 'work_dirs/adclr/ibot_vit_base_in1k'
model = dict(
    backbone=dict(model_name='vit_base_patch16_224'),
    branches=dict(
        cls=dict(neck=dict(norm_last_layer=True), head=dict(warmup_epochs=50)),
        patch=dict(head=dict(warmup_epochs=50)),
    ),
)
large_crop = {**_base_.global_crop, 'crop_ratio_range': (0.32, 1.0)}
little_crop = {**_base_.local_crop, 'crop_ratio_range': (0.05, 0.32)}
cuts = [
    [large_crop, *_base_.after_first],
    [large_crop, *_base_.after_second],
    [little_crop, *_base_.after_local],
]
views_vit_base = {**_base_.masked_crop, 'transforms': cuts}
train_dataloader = dict(
    batch_size=32,  # times 32 processes
    dataset=dict(pipeline=[_base_.load_image, _base_.block_masks, views_vit_base, _base_.pack_extras]),
)
custom_hooks = [
    *_base_.custom_hooks,
    _base_.dino_hooks[0],
    dict(type='viewplug.ClipEachGradientHook', max_norm=0.3),  # the released run's
]
