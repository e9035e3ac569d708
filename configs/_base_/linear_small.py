# A linear classifier on small images (ContrastiveCrop, sec. 4.2), read by tools/linear_eval.py.
batch_size = 512  # of all processes together
num_workers = 4
optim_wrapper = dict(type='OptimWrapper', optimizer=dict(type='SGD', lr=10.0, momentum=0.9, weight_decay=0.0))
param_scheduler = [dict(type='MultiStepLR', milestones=[60, 80], gamma=0.1, by_epoch=True, begin=0, end=100)]
train_cfg = dict(type='viewplug.EpochLoop', max_epochs=100, val_interval=10)
