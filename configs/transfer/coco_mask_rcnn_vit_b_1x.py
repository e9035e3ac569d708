_base_ = 'coco_mask_rcnn_vit_s_1x.py'
model = dict(backbone=dict(model_name='vit_base_patch16_224'), neck=dict(in_channels=768))
