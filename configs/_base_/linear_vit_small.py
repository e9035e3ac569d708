# DINO's linear classifier for a ViT-S (arXiv:2104.14294, sec. 4.1 and its code): the class tokens of the last four
# blocks side by side. Read by tools/linear_eval.py; --prefix target.backbone. takes the target, which DINO evaluates.
backbone = dict(out='cls', out_indices=(-4, -3, -2, -1))
batch_size = 1024  # of all processes together
num_workers = 10
optim_wrapper = dict(  # 0.001 * 1024 / 256
    type='OptimWrapper', optimizer=dict(type='SGD', lr=0.004, momentum=0.9, weight_decay=0.0)
)
param_scheduler = [dict(type='CosineAnnealingLR', T_max=100, by_epoch=True, begin=0, end=100)]
train_cfg = dict(type='viewplug.EpochLoop', max_epochs=100, val_interval=10)
