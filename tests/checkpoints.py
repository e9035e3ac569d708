"""Pre-training checkpoints and the detectors that take them, small."""

from __future__ import annotations

import torch
from mmengine.config import ConfigDict
from mmengine.logging import MMLogger
from mmengine.registry import MODELS, DefaultScope
from toys import mlp_branch, toy_resnet

from viewplug.frameworks import Siamese

NORMALISATION = dict(mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375], to_rgb=True)


def pretrained(path, backbone=None, branches=None, config: str = '', target='MomentumTarget', **extra) -> dict:
    """Write a viewplug checkpoint whose values no initialiser would give, in the form of a run; return its weights."""
    torch.manual_seed(7)
    model = Siamese(
        backbone=backbone or toy_resnet(),
        branches=branches or dict(image=mlp_branch()),
        target=dict(type=target),
    )
    state = model.state_dict()
    for value in state.values():
        if value.is_floating_point():
            value.copy_(torch.randn_like(value) * 0.05)
    for name, value in state.items():
        if name.endswith('running_var'):
            value.abs_()
        if name.endswith('num_batches_tracked'):
            value.fill_(11)
    meta = dict(cfg=config, epoch=3, iter=42, mmengine_version='0.10.12' + 'ab' * 20)
    torch.save(dict(state_dict=state, meta=meta, **extra), path)
    return {name: value.clone() for name, value in state.items()}


def small_resnet(**changes) -> dict:
    """mmdet's ResNet of the size of ``toy_resnet``."""
    return {
        **dict(type='mmdet.ResNet', depth=18, stem_channels=8, base_channels=8, norm_eval=False, frozen_stages=-1),
        **changes,
    }


def faster_rcnn(backbone=None, **changes) -> dict:
    """mmdet's Faster R-CNN with a pyramid, over maps of (8, 16, 32, 64) channels, as a config."""
    loss = dict(type='mmdet.CrossEntropyLoss')
    anchors = dict(type='mmdet.AnchorGenerator', scales=[8], ratios=[0.5, 1.0, 2.0], strides=[4, 8, 16, 32, 64])
    coder = dict(type='mmdet.DeltaXYWHBBoxCoder')
    assigner = dict(type='mmdet.MaxIoUAssigner', pos_iou_thr=0.5, neg_iou_thr=0.5, min_pos_iou=0.5)
    sampler = dict(type='mmdet.RandomSampler', num=16, pos_fraction=0.25, add_gt_as_proposals=True)
    proposals = dict(nms_pre=50, max_per_img=20, nms=dict(type='nms', iou_threshold=0.7), min_bbox_size=0)
    cfg = dict(
        type='mmdet.FasterRCNN',
        data_preprocessor=dict(
            type='mmdet.DetDataPreprocessor',
            mean=NORMALISATION['mean'],
            std=NORMALISATION['std'],
            bgr_to_rgb=True,
            pad_size_divisor=32,
        ),
        backbone=backbone or small_resnet(),
        neck=dict(type='mmdet.FPN', in_channels=[8, 16, 32, 64], out_channels=16, num_outs=5),
        rpn_head=dict(
            type='mmdet.RPNHead',
            in_channels=16,
            feat_channels=16,
            anchor_generator=anchors,
            bbox_coder=coder,
            loss_cls=dict(loss, use_sigmoid=True),
            loss_bbox=dict(type='mmdet.L1Loss'),
        ),
        roi_head=dict(
            type='mmdet.StandardRoIHead',
            bbox_roi_extractor=dict(
                type='mmdet.SingleRoIExtractor',
                roi_layer=dict(type='RoIAlign', output_size=7, sampling_ratio=0),
                out_channels=16,
                featmap_strides=[4, 8, 16, 32],
            ),
            bbox_head=dict(
                type='mmdet.Shared2FCBBoxHead',
                in_channels=16,
                fc_out_channels=16,
                roi_feat_size=7,
                num_classes=3,
                bbox_coder=coder,
                loss_cls=loss,
                loss_bbox=dict(type='mmdet.L1Loss'),
            ),
        ),
        train_cfg=dict(
            rpn=dict(assigner=assigner, sampler=sampler, allowed_border=-1, pos_weight=-1, debug=False),
            rpn_proposal=proposals,
            rcnn=dict(assigner=assigner, sampler=sampler, pos_weight=-1, debug=False),
        ),
        test_cfg=dict(
            rpn=proposals,
            rcnn=dict(score_thr=0.05, nms=dict(type='nms', iou_threshold=0.5), max_per_img=20),
        ),
    )
    return ConfigDict({**cfg, **changes})


def built(cfg: dict, scope: str = 'mmdet'):
    """The model of ``cfg`` as a Runner has it before its first step."""
    MMLogger.get_instance('quiet', log_level='ERROR')  # mmengine logs each parameter that it initialises
    with DefaultScope.overwrite_default_scope(scope):
        model = MODELS.build(cfg)
        model.init_weights()
    return model


def plain(checkpoint, prefix: str | None = 'backbone.') -> dict:
    return dict(type='Pretrained', checkpoint=str(checkpoint), **({'prefix': prefix} if prefix else {}))


def same(module, weights: dict, prefix: str) -> int:
    """Number of tensors of ``module``, all of which have the value of ``weights[prefix + name]``."""
    for name, value in module.state_dict().items():
        assert torch.equal(value, weights[prefix + name]), name
    return len(module.state_dict())
