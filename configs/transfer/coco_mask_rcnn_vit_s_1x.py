# COCO: Mask R-CNN on ViT-S/16, maps of blocks 4, 6, 8, 12 brought to strides 4 to 32 and into an FPN (iBOT's and
# SelfPatch's form; ADCLR compares with SelfPatch). 1x, 16 images a step. OUR CHOICE: AdamW, lr 1e-4, weight decay 0.05,
# short side 640-800.
_base_ = [
    '_base_/mask_rcnn_r50_fpn.py',
    '_base_/vit.py',
    '_base_/coco.py',
    '_base_/schedule_1x.py',
    '_base_/runtime_mmdet.py',
]
model = dict(
    backbone=dict(_delete_=True, **_base_.backbone),
    neck=dict(
        _delete_=True,
        type='viewplug.ViTFPN',
        in_channels=384,
        out_channels=256,
        num_outs=5,
        norm_cfg=dict(type='SyncBN', requires_grad=True),
    ),
)
optim_wrapper = dict(
    _delete_=True,
    type='OptimWrapper',
    optimizer=dict(type='AdamW', lr=1e-4, betas=(0.9, 0.999), weight_decay=0.05),
    paramwise_cfg=dict(
        norm_decay_mult=0.0,
        custom_keys={'pos_embed': dict(decay_mult=0.0), 'cls_token': dict(decay_mult=0.0)},
    ),
)
custom_hooks = [dict(type='viewplug.TransferCheckHook', required=['backbone'])]
