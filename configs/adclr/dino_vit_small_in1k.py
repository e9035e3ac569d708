# DINO, ViT-S/16, ImageNet-1K, 800 epochs at batch 1024 (arXiv:2104.14294, sec. 3.2).
_base_ = [
    '../_base_/default_runtime.py',
    '../_base_/dino_vit_small.py',
    '../_base_/views_dino.py',
    '../_base_/in1k_labels.py',
    '../_base_/adamw_dino_800e.py',
]

work_dir = 'work_dirs/adclr/dino_vit_small_in1k'
custom_hooks = [*_base_.custom_hooks, *_base_.dino_hooks]
