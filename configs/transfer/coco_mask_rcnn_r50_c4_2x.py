_base_ = [
    '_base_/mask_rcnn_r50_c4.py',
    '_base_/coco.py',
    '_base_/schedule_2x.py',
    '_base_/runtime_mmdet.py',
    '_base_/hooks_c4.py',
]
