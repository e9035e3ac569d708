# ImageNet-1K's labelled images, whole. No hook here looks at them while training, since kNN over 1.28 million images
# takes a third of an epoch: they are for tools/linear_eval.py (and for custom_hooks, if you want the curve).
whole_image = [
    dict(type='LoadImageFromFile'),
    dict(type='ResizeEdge', scale=256, edge='short', backend='pillow'),
    dict(type='CenterCrop', crop_size=224),
    dict(type='PackInputs'),
]
labelled = dict(type='viewplug.ImageFolder', with_label=True, pipeline=whole_image)
knn_hook = dict(
    type='viewplug.KNNHook',
    k=20,
    interval=50,
    at_start=False,
    train_dataloader=dict(batch_size=64, num_workers=8, dataset=dict(data_root='data/imagenet/train', **labelled)),
    val_dataloader=dict(batch_size=64, num_workers=8, dataset=dict(data_root='data/imagenet/val', **labelled)),
)
