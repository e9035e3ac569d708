# SimCLR, ResNet-50 (2x): every layer 2 times as wide, 94 M parameters (arXiv:2002.05709, table 6); the projector's
# hidden layer is as wide as h, 4096.
_base_ = './r50_b4096.py'

model = dict(
    backbone=dict(stem_channels=128, base_channels=128),
    branches=dict(image=dict(neck=dict(hidden_channels=4096))),
)
