# SimCLR with ContrastiveCrop, CIFAR-100: Table 1.
_base_ = 'simclr_rcrop.py'

work_dir = 'work_dirs/contrastive_crop/cifar100/simclr_ccrop'
train_dataloader = dict(dataset=dict(pipeline=_base_.with_ccrop))
custom_hooks = [*_base_.custom_hooks, _base_.localization]
