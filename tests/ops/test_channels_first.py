"""timm's channels-last networks give every reader of viewplug their maps as (N, D, h, w)."""

import copy

import pytest
import torch
from mmengine.registry import DefaultScope
from torch.utils.data import DataLoader
from toys import total, toy_resnet, toy_siamese, toy_views

from viewplug.backbones import backbone_layout, pooled
from viewplug.evaluation.features import extract_features
from viewplug.frameworks import CPC, LinearClassifier, Pretext
from viewplug.ops.backbone_heatmaps import HeatmapProbe
from viewplug.ops.channels_first import channels_first, in_torchs_order
from viewplug.registry import MODELS

SIZES = dict(img_size=64, embed_dim=24, depths=(1, 1, 1, 1), num_heads=(1, 2, 2, 4))
SWIN = dict(type='mmpretrain.TIMMBackbone', model_name='swin_tiny_patch4_window7_224', window_size=2, **SIZES)
SWIN_V2 = dict(SWIN, model_name='swinv2_tiny_window8_256')
STAGES = dict(SWIN, features_only=True)
MAMBA = dict(type='mmpretrain.TIMMBackbone', model_name='test_mambaout')


def built(cfg):
    torch.manual_seed(0)
    backbone = MODELS.build(cfg)
    backbone.eval()  # not chained: mmpretrain's backbones return None here
    return backbone


@torch.no_grad()
@pytest.mark.parametrize('cfg', [SWIN, SWIN_V2, STAGES, MAMBA], ids=['swin', 'swin v2', 'features_only', 'mambaout'])
def test_maps_are_those_of_timm_with_the_channels_in_front(cfg):
    plain, turned = built(cfg), channels_first(built(cfg))
    images = torch.randn(2, 3, 64, 64)
    theirs, ours = plain.timm_model(images), turned(images)
    theirs = theirs if isinstance(theirs, list) else [theirs]
    assert isinstance(ours, tuple) and len(ours) == len(theirs)
    for one, other in zip(ours, theirs, strict=True):
        assert torch.equal(one, other.permute(0, 3, 1, 2))
    assert pooled(ours).shape == (2, theirs[-1].shape[-1])
    channels, strides = backbone_layout(turned, 64)
    assert channels == tuple(one.shape[-1] for one in theirs) and min(strides) >= 4
    assert backbone_layout(plain, 64) == (channels, strides)  # also where nobody turned them
    assert list(turned.state_dict()) == list(plain.state_dict()) and type(turned) is type(plain)


def test_once_is_enough_and_a_copy_has_it_too():
    backbone = channels_first(channels_first(built(SWIN)))
    images = torch.randn(1, 3, 64, 64)
    for one in (backbone, copy.deepcopy(backbone)):
        assert len(one._forward_hooks) == 1 and one(images)[0].shape == (1, 192, 2, 2)
        assert in_torchs_order(one, one(images))[0].shape == (1, 192, 2, 2)


@pytest.mark.parametrize('cfg', [toy_resnet(), dict(type=SWIN['type'], model_name='resnet10t')])
def test_others_are_left_alone(cfg):
    assert not channels_first(built(cfg))._forward_hooks


def test_every_framework_reads_the_channels():
    model = toy_siamese(SWIN)
    assert model.branches['image'].neck.mlp[0].in_features == 192
    model.train()
    total(model.loss(toy_views(4, 64))).backward()
    assert all(one(torch.randn(1, 3, 64, 64))[0].shape[1] == 192 for one in (model.backbone, model.target.backbone))
    assert Pretext(SWIN, dict(type='RotationTask')).classifier[0].in_features == 192
    context = dict(type='MaskedConvContext')
    assert CPC(SWIN, context, dict(type='CPCHead')).backbone(torch.randn(1, 3, 64, 64))[0].shape[1] == 192


def test_a_linear_classifier_pools_positions():
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        head = dict(type='LinearClsHead', num_classes=3, in_channels=192)
        model = LinearClassifier(SWIN, neck=dict(type='GlobalAveragePooling'), head=head)
    images = torch.randn(2, 3, 64, 64)
    expected = model.backbone.timm_model(images).mean(dim=(1, 2))
    assert torch.allclose(model.extract_feat(images)[0], expected, atol=1e-6)


@torch.no_grad()
@pytest.mark.parametrize('prepared', [False, True])
def test_heat_maps_are_sums_over_channels(prepared):
    backbone, images, found = built(SWIN), torch.randn(2, 3, 64, 64), []
    backbone = channels_first(backbone) if prepared else backbone
    with HeatmapProbe(backbone, 'auto', lambda heatmap, inputs: found.append(heatmap)):
        backbone(images)
    assert torch.allclose(found[0], backbone.timm_model(images).sum(dim=3), atol=1e-4)


@torch.no_grad()
def test_features_of_a_model_that_viewplug_did_not_build_are_read_along_the_channels_too():
    model = torch.nn.Module()
    model.backbone = built(SWIN)
    images = torch.randn(4, 3, 64, 64)
    features, _ = extract_features(model, DataLoader([dict(inputs=image) for image in images], batch_size=2))
    expected = model.backbone.timm_model(images).mean((1, 2))
    assert torch.allclose(features, torch.nn.functional.normalize(expected, dim=1), atol=1e-6)
