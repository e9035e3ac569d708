_base_ = ['coco_mask_rcnn_r50_fpn_1x.py', '_base_/bn_heads.py']
model = dict(roi_head=_base_.bn_heads)
