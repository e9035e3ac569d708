# BYOL with RandomCrop, Fashion-MNIST, with the settings of CIFAR-10 in ContrastiveCrop, Table 1.
_base_ = [
    '../_base_/default_runtime.py',
    '../_base_/contrastive_crop_byol.py',
    '../_base_/fashion_mnist_500e.py',
]

work_dir = 'work_dirs/fashion_mnist/byol_rcrop'
custom_hooks = [*_base_.custom_hooks, _base_.knn_hook]
