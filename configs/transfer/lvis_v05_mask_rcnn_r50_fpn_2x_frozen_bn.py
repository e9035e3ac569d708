# The other supervised row of HCL's Table 3: BN of the backbone frozen, none in the FPN (detectron2's default).
_base_ = 'lvis_v05_mask_rcnn_r50_fpn_2x.py'
model = dict(
    backbone=dict(norm_cfg=dict(type='BN', requires_grad=False), norm_eval=True),
    neck=dict(norm_cfg=None),
)
custom_hooks = [dict(type='viewplug.TransferCheckHook', required=['backbone'])]
