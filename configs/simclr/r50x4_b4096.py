# SimCLR, ResNet-50 (4x): every layer 4 times as wide, 375 M parameters (arXiv:2002.05709, table 6); the projector's
# hidden layer is as wide as h, 8192.
_base_ = './r50_b4096.py'

model = dict(
    backbone=dict(stem_channels=256, base_channels=256),
    branches=dict(image=dict(neck=dict(hidden_channels=8192))),
)
