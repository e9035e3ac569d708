# CIFAR-100 as CIFAR-10, with its own mean and deviation. mmpretrain downloads it into data/cifar100.
_base_ = './cifar10_mocov2.py'

data_preprocessor = dict(mean=[129.304, 124.070, 112.434], std=[68.170, 65.392, 70.418])

cifar100 = dict(type='CIFAR100', data_root='data/cifar100')
train_dataloader = dict(dataset=cifar100)
knn_hook = dict(train_dataloader=dict(dataset=cifar100), val_dataloader=dict(dataset=cifar100))
