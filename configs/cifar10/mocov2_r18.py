# MoCo v2, ResNet-18, CIFAR-10, 200 epochs.
_base_ = [
    '../_base_/default_runtime.py',
    '../_base_/moco_r18_32px.py',
    '../_base_/cifar10_mocov2.py',
    '../_base_/sgd_200e_32px.py',
]

work_dir = 'work_dirs/cifar10/mocov2_r18'
auto_scale_lr = dict(base_batch_size=512)  # 0.06 is for the 512 images of a step here
custom_hooks = [*_base_.custom_hooks, _base_.knn_hook]
