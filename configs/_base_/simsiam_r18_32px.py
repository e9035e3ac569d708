# SimSiam for small images (arXiv:2011.10566, app. D): ResNet-18 with a 3 x 3 stem and no max-pool, two-layer projector.
_base_ = './simsiam_r50.py'

model = dict(
    backbone=dict(_delete_=True, type='mmpretrain.ResNet_CIFAR', depth=18, out_indices=(0, 1, 2, 3)),
    branches=dict(image=dict(neck=dict(num_layers=2))),
)
