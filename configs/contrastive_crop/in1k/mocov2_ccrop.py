# MoCo v2 with ContrastiveCrop, ImageNet-1K: Table 2.
_base_ = 'mocov2_rcrop.py'

work_dir = 'work_dirs/contrastive_crop/in1k/mocov2_ccrop'
train_dataloader = dict(dataset=dict(pipeline=_base_.with_ccrop))
custom_hooks = [*_base_.custom_hooks, _base_.localization]
