# Rotation (arXiv:1803.07728): which of four turns? All four of an image are in one batch.
_base_ = [
    '../_base_/default_runtime.py',
    '../_base_/patches_pretext.py',
    '../_base_/sgd_200e.py',
    '../_base_/pretext_r50.py',
]

model = dict(task=dict(type='viewplug.RotationTask'))
optim_wrapper = dict(optimizer=dict(lr=0.1))
