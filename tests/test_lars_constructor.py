"""LARS leaves vectors alone, whatever a backbone calls them."""

from pathlib import Path

import pytest
from mmengine import Config
from mmengine.optim import build_optim_wrapper
from mmengine.registry import MODELS, DefaultScope
from torch import nn

CONFIGS = Path(__file__).resolve().parents[1] / 'configs'
TIMM = 'mmpretrain.TIMMBackbone'
BACKBONES = dict(
    resnet=dict(type='mmpretrain.ResNet', depth=18),
    deep_stem=dict(type='mmpretrain.ResNetV1d', depth=18, base_channels=8, stem_channels=8),
    group_norm=dict(type='mmpretrain.ResNet', depth=18, norm_cfg=dict(type='GN', num_groups=8)),
    timm_resnet_d=dict(type=TIMM, model_name='resnet18d'),
    timm_convnext=dict(type=TIMM, model_name='convnext_atto', depths=(1, 1, 1, 1), dims=(8, 16, 24, 32)),
    convnext=dict(type='mmpretrain.ConvNeXt', arch=dict(depths=[1, 1, 1, 1], channels=[8, 16, 24, 32])),
    vit=dict(type='viewplug.QueryViT', model_name='vit_tiny_patch16_224', depth=1),
)


def settings_of(model: nn.Module, optim_wrapper) -> dict[str, tuple]:
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        groups = build_optim_wrapper(model, optim_wrapper).optimizer.param_groups
    found = {p: (group.get('lars_exclude', False), group['weight_decay']) for group in groups for p in group['params']}
    return {name: found[parameter] for name, parameter in model.named_parameters()}


@pytest.mark.parametrize('config', ['byol_r50.py', 'simclr/r50_b4096.py'])
@pytest.mark.parametrize('backbone', BACKBONES)
def test_vectors_are_neither_adapted_nor_decayed_and_all_else_is_both(backbone, config):
    wrapper = Config.fromfile(CONFIGS / config).optim_wrapper
    model = nn.Module()
    model.backbone = MODELS.build(BACKBONES[backbone])
    settings = settings_of(model, wrapper)
    for name, parameter in model.named_parameters():
        expected = (True, 0.0) if parameter.ndim <= 1 else (False, wrapper.optimizer.weight_decay)
        assert settings[name] == expected, name


def test_a_users_own_keys_stay():
    model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4), nn.BatchNorm1d(4))
    wrapper = dict(
        constructor='viewplug.LARSConstructor',
        optimizer=dict(type='mmpretrain.LARS', lr=0.4, weight_decay=0.5),
        paramwise_cfg=dict(custom_keys={'1.': dict(lr_mult=0.5, decay_mult=0.1)}),
    )
    settings = settings_of(model, wrapper)
    assert settings['0.weight'] == (False, 0.5) and settings['1.weight'] == (False, 0.05)
    assert all(settings[name] == (True, 0.0) for name in ('0.bias', '1.bias', '2.weight', '2.bias'))
