# Faster R-CNN R50-C4, MoCo's form: every BN trained and synchronised, one more BN after res5. The stock model below is
# caffe's: its stride, its mean and its frozen statistics would all load our weights and compute another function.
_base_ = 'mmdet::_base_/models/faster-rcnn_r50-caffe-c4.py'
norm_cfg = dict(type='SyncBN', requires_grad=True)
init_cfg = dict(type='Pretrained', checkpoint='(none given; add --init CKPT)', prefix='backbone.')
model = dict(
    data_preprocessor=dict(mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375], bgr_to_rgb=True),
    backbone=dict(frozen_stages=-1, norm_cfg=norm_cfg, norm_eval=False, style='pytorch', init_cfg=init_cfg),
    roi_head=dict(
        shared_head=dict(
            _delete_=True, type='viewplug.Res5WithNorm', depth=50, norm_cfg=norm_cfg, style='pytorch', init_cfg=init_cfg
        )
    ),
)
