# DINO, ViT-B/16, ImageNet-1K, 400 epochs at batch 1024 (arXiv:2104.14294, sec. 3.2): last layer of fixed gain, the
# target's temperature warmed up over 50 epochs.
_base_ = [
    '../_base_/default_runtime.py',
    '../_base_/dino_vit_small.py',
    '../_base_/views_dino.py',
    '../_base_/in1k_labels.py',
    '../_base_/adamw_dino_400e.py',
]

work_dir = 'work_dirs/adclr/dino_vit_base_in1k'
model = dict(
    backbone=dict(model_name='vit_base_patch16_224'),
    branches=dict(cls=dict(neck=dict(norm_last_layer=True), head=dict(warmup_epochs=50))),
)
train_dataloader = dict(batch_size=32)  # times 32 processes
custom_hooks = [*_base_.custom_hooks, *_base_.dino_hooks]
