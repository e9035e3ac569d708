# Relative position (arXiv:1505.05192): which of its eight neighbours is beside the middle patch?
_base_ = [
    '../_base_/default_runtime.py',
    '../_base_/patches_pretext.py',
    '../_base_/sgd_200e.py',
    '../_base_/pretext_r50.py',
]

model = dict(task=dict(type='viewplug.RelativePositionTask'), hidden_channels=4096)
train_dataloader = dict(dataset=dict(pipeline=_base_.neighbours))
optim_wrapper = dict(optimizer=dict(lr=0.01))
demo = dict(shrink=8, model=dict(hidden_channels=256))
