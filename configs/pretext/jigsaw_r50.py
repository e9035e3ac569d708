# Jigsaw (arXiv:1603.09246): in which of 100 orders lie the 3 x 3 tiles?
_base_ = [
    '../_base_/default_runtime.py',
    '../_base_/patches_pretext.py',
    '../_base_/sgd_200e.py',
    '../_base_/pretext_r50.py',
]

model = dict(task=dict(type='viewplug.JigsawTask', num_permutations=100), part_channels=1024, hidden_channels=4096)
train_dataloader = dict(dataset=dict(pipeline=_base_.tiles))
optim_wrapper = dict(optimizer=dict(lr=0.01))
demo = dict(shrink=6.25, model=dict(task=dict(num_permutations=24), part_channels=64, hidden_channels=256))
