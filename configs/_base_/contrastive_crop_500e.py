# ContrastiveCrop's small data sets (sec. 4.2): 500 epochs at batch 512, lr 0.5, cosine; boxes every 100 epochs. The
# authors' code adds: the cosine takes one step an epoch and ends at a tenth of the lr; the first boxes come after 100.
optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(type='SGD', lr=0.5, momentum=0.9, weight_decay=1e-4),
)
param_scheduler = [dict(type='CosineAnnealingLR', eta_min_ratio=0.1, T_max=500, by_epoch=True, begin=0, end=500)]
train_cfg = dict(type='viewplug.EpochLoop', max_epochs=500)
auto_scale_lr = dict(base_batch_size=512)

localization = dict(type='viewplug.LocalizationHook', start=100, interval=100, threshold=0.1)
