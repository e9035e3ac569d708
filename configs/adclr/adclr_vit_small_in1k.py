# ADCLR on DINO, ViT-S/16: query patches beside the class token. Its baseline is dino_vit_small_in1k.py.
_base_ = [
    '../_base_/default_runtime.py',
    '../_base_/dino_vit_small.py',
    '../_base_/views_dino.py',
    '../_base_/in1k_labels.py',
    '../_base_/adamw_dino_800e.py',
    '../_base_/query_branch.py',
]

work_dir = 'work_dirs/adclr/adclr_vit_small_in1k'
model = dict(branches=dict(query=_base_.query_branch))
pack_extras = {**_base_.pack_views, 'type': 'viewplug.PackViews'}
train_dataloader = dict(dataset=dict(pipeline=[_base_.load_image, _base_.query_crops, _base_.multi_crop, pack_extras]))
custom_hooks = [*_base_.custom_hooks, *_base_.dino_hooks]
