# Cityscapes instances, Mask R-CNN R50-FPN: detectron2's 24k iterations of 8 images, lr 0.01, x0.1 at 18k
# (ReSim, Table 6).
_base_ = [
    '_base_/mask_rcnn_r50_fpn.py',
    '_base_/cityscapes_instance.py',
    '_base_/sgd_detectron2.py',
    '_base_/runtime_mmdet.py',
    '_base_/hooks.py',
]
model = dict(roi_head=dict(bbox_head=dict(num_classes=8), mask_head=dict(num_classes=8)))
optim_wrapper = dict(optimizer=dict(lr=0.01))
auto_scale_lr = dict(base_batch_size=8)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.001, by_epoch=False, begin=0, end=1000),
    dict(type='MultiStepLR', by_epoch=False, begin=0, end=24000, milestones=[18000], gamma=0.1),
]
train_cfg = dict(type='IterBasedTrainLoop', max_iters=24000, val_interval=8000)
