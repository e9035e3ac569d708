# SimCLR with ContrastiveCrop, Fashion-MNIST.
_base_ = 'simclr_rcrop.py'

work_dir = 'work_dirs/fashion_mnist/simclr_ccrop'
train_dataloader = dict(dataset=dict(pipeline=_base_.with_ccrop))
custom_hooks = [*_base_.custom_hooks, _base_.localization]
