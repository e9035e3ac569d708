# iBOT, ViT-S/16, ImageNet-1K, 800 epochs at batch 1024 (arXiv:2111.07832, app. A and the authors' README).
_base_ = [
    '../_base_/default_runtime.py',
    '../_base_/ibot_vit_small.py',
    '../_base_/views_ibot.py',
    '../_base_/in1k_labels.py',
    '../_base_/adamw_dino_800e.py',
]

work_dir = 'work_dirs/adclr/ibot_vit_small_in1k'
param_scheduler = [
    _base_.param_scheduler[0],
    dict(_base_.param_scheduler[1], eta_min=1e-6),
    _base_.param_scheduler[2],
]
custom_hooks = [*_base_.custom_hooks, *_base_.dino_hooks]
