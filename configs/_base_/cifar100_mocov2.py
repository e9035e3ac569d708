# CIFAR-100 as CIFAR-10, with the mean and deviation of ContrastiveCrop's code. mmpretrain downloads it into
# data/cifar100.
_base_ = './cifar10_mocov2.py'

data_preprocessor = dict(mean=[129.3105, 124.1085, 112.404], std=[68.2125, 65.4075, 70.4055])

cifar100 = dict(type='CIFAR100', data_root='data/cifar100')
train_dataloader = dict(dataset=cifar100)
knn_hook = dict(train_dataloader=dict(dataset=cifar100), val_dataloader=dict(dataset=cifar100))
