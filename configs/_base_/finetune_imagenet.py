# Fine-tuning with few labels as SimCLR does it (arXiv:2002.05709, app. B.5), read by tools/few_labels.py: no weight
# decay, no warm-up, crops and flips only; 60 epochs at 1 %, 30 at 10 %.
batch_size = 4096  # of all processes together
num_workers = 8
optim_wrapper = dict(
    type='OptimWrapper', optimizer=dict(type='SGD', lr=0.8, momentum=0.9, nesterov=True, weight_decay=0.0)
)
param_scheduler = [dict(type='CosineAnnealingLR', T_max=30, by_epoch=True, begin=0, end=30, convert_to_iter_based=True)]
train_cfg = dict(type='viewplug.EpochLoop', max_epochs=30, val_interval=30)
epochs_below_10_percent = 60
