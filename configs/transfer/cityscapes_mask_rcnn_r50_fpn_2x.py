# HCL's "2x" (Table 5): twice detectron2's iterations.
_base_ = 'cityscapes_mask_rcnn_r50_fpn.py'
param_scheduler = [
    dict(type='LinearLR', start_factor=0.001, by_epoch=False, begin=0, end=1000),
    dict(type='MultiStepLR', by_epoch=False, begin=0, end=48000, milestones=[36000], gamma=0.1),
]
train_cfg = dict(max_iters=48000, val_interval=16000)
