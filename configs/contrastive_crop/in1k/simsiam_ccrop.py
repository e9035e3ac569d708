# SimSiam with ContrastiveCrop, ImageNet-1K: Table 2.
_base_ = 'simsiam_rcrop.py'

work_dir = 'work_dirs/contrastive_crop/in1k/simsiam_ccrop'
train_dataloader = dict(dataset=dict(pipeline=_base_.with_ccrop))
custom_hooks = [*_base_.custom_hooks, _base_.localization]
