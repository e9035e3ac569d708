# ContrastiveCrop's Table 2 (sec. 4.2): MoCo's optimiser over 100 epochs; boxes after 20 epochs and then every 10, as
# the text says (the authors' ImageNet configs: every 20).
_base_ = './sgd_200e.py'

param_scheduler = [
    dict(type='CosineAnnealingLR', T_max=100, by_epoch=True, begin=0, end=100, convert_to_iter_based=True)
]
train_cfg = dict(max_epochs=100)

localization = dict(type='viewplug.LocalizationHook', start=20, interval=10, threshold=0.1)
