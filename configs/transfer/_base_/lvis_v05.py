# LVIS v0.5: images with a rare class are drawn more often (threshold 0.001), short side 640-800, 2 images on each of 8
# GPUs.
_base_ = 'mmdet::_base_/datasets/lvis_v0.5_instance.py'
train_dataloader = dict(
    sampler=dict(_delete_=True, type='InfiniteSampler', shuffle=True),
    dataset=dict(dataset=dict(filter_cfg=dict(filter_empty_gt=True, min_size=0))),
)
val_evaluator = dict(type='viewplug.LVISMetric')  # mmdet's, on today's numpy
test_evaluator = val_evaluator
