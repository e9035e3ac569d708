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
# Objects large enough for most tiles to see one; with smaller ones 24 orders were not learnt in 200 steps.
demo = dict(
    shrink=6.25,
    scenes=dict(object_scale=(0.6, 0.9)),
    model=dict(task=dict(num_permutations=12), part_channels=64, hidden_channels=256),
)
