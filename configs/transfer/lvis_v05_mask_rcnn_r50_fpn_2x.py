# LVIS v0.5, Mask R-CNN R50-FPN, 2x (HCL, Table 3): 300 detections an image, down to a score of 1e-4.
_base_ = [
    '_base_/mask_rcnn_r50_fpn.py',
    '_base_/lvis_v05.py',
    '_base_/schedule_2x.py',
    '_base_/runtime_mmdet.py',
    '_base_/hooks.py',
]
model = dict(
    roi_head=dict(bbox_head=dict(num_classes=1230), mask_head=dict(num_classes=1230)),
    test_cfg=dict(rcnn=dict(score_thr=1e-4, max_per_img=300)),
)
