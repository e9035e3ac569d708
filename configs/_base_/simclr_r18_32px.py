# SimCLR for small images: ResNet-18 with a 3 x 3 stem and no max-pool, temperature 0.5 (arXiv:2002.05709, app. B.9).
_base_ = './simclr_r50.py'

model = dict(
    backbone=dict(_delete_=True, type='mmpretrain.ResNet_CIFAR', depth=18, out_indices=(0, 1, 2, 3)),
    branches=dict(image=dict(neck=dict(hidden_channels=512), head=dict(loss=dict(temperature=0.5)))),
)
