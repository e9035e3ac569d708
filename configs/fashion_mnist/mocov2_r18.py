# MoCo v2, ResNet-18, Fashion-MNIST, 200 epochs.
_base_ = [
    '../_base_/default_runtime.py',
    '../_base_/moco_r18_32px.py',
    '../_base_/fashion_mnist_mocov2.py',
    '../_base_/sgd_200e.py',
]

optim_wrapper = dict(optimizer=dict(lr=0.06, weight_decay=5e-4))
custom_hooks = [
    *_base_.custom_hooks,
    dict(
        type='viewplug.KNNHook',
        k=200,
        interval=10,
        train_dataloader=_base_.knn_bank,
        val_dataloader=_base_.knn_queries,
    ),
]
