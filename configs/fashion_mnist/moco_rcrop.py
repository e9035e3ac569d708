# MoCo with RandomCrop, Fashion-MNIST, with the settings of CIFAR-10 in ContrastiveCrop, Table 1; queue, momentum and
# temperature are its authors'.
_base_ = [
    '../_base_/default_runtime.py',
    '../_base_/moco_r18_32px.py',
    '../_base_/fashion_mnist_500e.py',
]

work_dir = 'work_dirs/fashion_mnist/moco_rcrop'
model = dict(
    target=dict(momentum=0.999), branches=dict(image=dict(head=dict(queue_len=65536, loss=dict(temperature=0.2))))
)
custom_hooks = [*_base_.custom_hooks, _base_.knn_hook]
