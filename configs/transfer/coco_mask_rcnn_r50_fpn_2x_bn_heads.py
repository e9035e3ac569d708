_base_ = [
    '_base_/mask_rcnn_r50_fpn_bn_heads.py',
    '_base_/coco.py',
    '_base_/schedule_2x.py',
    '_base_/runtime_mmdet.py',
    '_base_/hooks.py',
]
