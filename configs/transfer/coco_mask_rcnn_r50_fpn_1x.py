_base_ = [
    '_base_/mask_rcnn_r50_fpn.py',
    '_base_/coco.py',
    '_base_/schedule_1x.py',
    '_base_/runtime_mmdet.py',
    '_base_/hooks.py',
]
