# PASCAL VOC, trainval07 -> test07: Faster R-CNN R50-C4 (ReSim, sec. 4.2). OUR CHOICE, where the paper says nothing: the
# same 24k iterations as with 07+12.
_base_ = [
    '_base_/faster_rcnn_r50_c4.py',
    '_base_/voc07.py',
    '_base_/schedule_24k.py',
    '_base_/runtime_mmdet.py',
    '_base_/hooks_c4.py',
]
model = dict(roi_head=dict(bbox_head=dict(num_classes=20)))
