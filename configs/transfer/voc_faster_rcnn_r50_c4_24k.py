# PASCAL VOC, trainval07+12 -> test07: Faster R-CNN R50-C4, 24k iterations (MoCo; ReSim, Tables 1-4;
# ContrastiveCrop, Table 4).
_base_ = [
    '_base_/faster_rcnn_r50_c4.py',
    '_base_/voc0712.py',
    '_base_/schedule_24k.py',
    '_base_/runtime_mmdet.py',
    '_base_/hooks_c4.py',
]
model = dict(roi_head=dict(bbox_head=dict(num_classes=20)))
