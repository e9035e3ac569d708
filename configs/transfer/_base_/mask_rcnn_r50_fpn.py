# Mask R-CNN R50-FPN, MoCo's form: every BN trained and synchronised, and BN in the FPN, which starts anew.
# MoCo's authors leave the heads as detectron2 has them (github.com/facebookresearch/moco/issues/34), and so does
# ReSim's config; _base_/bn_heads.py makes the form with BN in the heads too.
_base_ = 'mmdet::_base_/models/mask-rcnn_r50_fpn.py'
norm_cfg = dict(type='SyncBN', requires_grad=True)
model = dict(
    backbone=dict(
        frozen_stages=-1,
        norm_cfg=norm_cfg,
        norm_eval=False,
        style='pytorch',
        init_cfg=dict(type='Pretrained', checkpoint='(none given; add --init CKPT)', prefix='backbone.'),
    ),
    neck=dict(norm_cfg=norm_cfg),
    train_cfg=dict(rcnn=dict(assigner=dict(match_low_quality=False))),  # as detectron2
)
