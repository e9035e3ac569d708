# HCL, second stage, on CIFAR-10, without the horizontal flip (HCL, sec. 4.3.3). Run with --stages.
_base_ = [
    '../_base_/default_runtime.py',
    '../_base_/hcl_r18_32px.py',
    '../_base_/cifar10_mocov2.py',
    '../_base_/sgd_200e_32px.py',
]

work_dir = 'work_dirs/cifar10/mocov2_hcl_r18'
load_from = 'work_dirs/cifar10/mocov2_r18/epoch_200.pth'

auto_scale_lr = dict(base_batch_size=512)  # 0.06 is for the 512 images of a step here
train_dataloader = dict(dataset=dict(pipeline=_base_.without_flip))
custom_hooks = [*_base_.custom_hooks, _base_.knn_hook, _base_.carry_over]
