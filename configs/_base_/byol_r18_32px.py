# BYOL for small images: ResNet-18 with a 3 x 3 stem and no max-pool. Runs here have few steps, and BYOL's own short
# runs (100 and 300 epochs of ImageNet) start from a momentum of 0.99.
_base_ = './byol_r50.py'

model = dict(
    backbone=dict(_delete_=True, type='mmpretrain.ResNet_CIFAR', depth=18, out_indices=(0, 1, 2, 3)),
    target=dict(momentum=0.99),
)
