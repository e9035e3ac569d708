# MoCo with RandomCrop, CIFAR-100: ContrastiveCrop, Table 1; queue, momentum and temperature are the authors'.
_base_ = [
    '../../_base_/default_runtime.py',
    '../../_base_/moco_r18_32px.py',
    '../../_base_/cifar100_mocov2.py',
    '../../_base_/contrastive_crop_500e.py',
]

work_dir = 'work_dirs/contrastive_crop/cifar100/moco_rcrop'
model = dict(
    target=dict(momentum=0.999), branches=dict(image=dict(head=dict(queue_len=65536, loss=dict(temperature=0.2))))
)
custom_hooks = [*_base_.custom_hooks, _base_.knn_hook]
