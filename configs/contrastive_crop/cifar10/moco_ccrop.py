# MoCo with ContrastiveCrop, CIFAR-10: Table 1.
_base_ = 'moco_rcrop.py'

work_dir = 'work_dirs/contrastive_crop/cifar10/moco_ccrop'
train_dataloader = dict(dataset=dict(pipeline=_base_.with_ccrop))
custom_hooks = [*_base_.custom_hooks, _base_.localization]
