# The same for small images and data sets of a few thousand.
_base_ = './finetune_imagenet.py'

batch_size = 64
num_workers = 4
optim_wrapper = dict(optimizer=dict(lr=0.05))
