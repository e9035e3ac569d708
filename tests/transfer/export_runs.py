"""Runs to export, and the lines that load them."""

from pathlib import Path

import timm
import torch
import torchvision
from mmengine.config import Config
from mmengine.registry import MODELS
from torch import nn

ATTO = dict(type='mmpretrain.TIMMBackbone', model_name='convnext_atto', features_only=True, pretrained=False)
VIT = dict(ATTO, model_name='vit_tiny_patch16_224', features_only=False, img_size=32, depth=2)


def run(folder: Path, backbone: dict, model: nn.Module | None = None) -> nn.Module:
    """Write a run with ``backbone`` to ``folder``/run.pth; return its backbone, no value of which is a default."""
    torch.manual_seed(3)
    model = model or MODELS.build(backbone)
    for value in [*model.parameters(), *model.buffers()]:
        if value.is_floating_point():
            value.data = 0.05 * torch.rand_like(value) + 0.01
    _save(folder, backbone, model)
    model.eval()  # not chained: mmpretrain's backbones return None here
    return model


def random_run(folder: Path, backbone: dict) -> nn.Module:
    """A run whose features are no constants, which small positive weights make them."""
    model = MODELS.build(backbone)
    for value in model.parameters():
        value.data += 0.1 * torch.randn_like(value)
    _save(folder, backbone, model)
    model.eval()
    return model


def loaded(load: str) -> nn.Module:
    """The model of a printed line, which is run as it stands."""
    names = dict(timm=timm, torch=torch, torchvision=torchvision)
    exec(load, names)
    return names['model'].eval()


def _save(folder: Path, backbone: dict, model: nn.Module) -> None:
    state = {f'backbone.{key}': value for key, value in model.state_dict().items()}
    config = Config(dict(model=dict(type='viewplug.Siamese', backbone=backbone))).pretty_text
    torch.save(dict(state_dict=state, meta=dict(cfg=config)), folder / 'run.pth')
