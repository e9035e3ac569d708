"""A run's backbone as a linear classifier reads it."""

from __future__ import annotations

import copy

import torch
from torch import nn

from viewplug.backbones.layout import backbone_layout
from viewplug.registry import MODELS


def probed_backbone(backbone: dict, changes: dict) -> dict:
    """The backbone of the run, as a classifier reads it; ``changes`` are the protocol's arguments of it."""
    backbone = copy.deepcopy(backbone)
    if str(backbone.type).endswith('QueryViT'):
        backbone.update(out='cls')
    backbone.update(changes)
    return backbone


def last_output(backbone: dict, changes: dict, size: int) -> tuple[int, bool]:
    """Channels of the last output for images of ``size`` pixels a side, and whether it is a map.

    Raises:
        ValueError: ``changes`` holds an argument that the backbone does not take.
    """
    with torch.random.fork_rng(devices=[]):
        channels, strides = backbone_layout(_built(backbone, changes), size)
    return channels[-1], strides[-1] is not None


def _built(backbone: dict, changes: dict) -> nn.Module:
    try:
        return MODELS.build(copy.deepcopy(backbone))
    except TypeError as error:  # the run itself was built, so an argument of the protocol is wrong
        if not changes:
            raise
        settings = ', '.join(f'{key}={value!r}' for key, value in changes.items())
        raise ValueError(
            f'the protocol sets backbone=dict({settings}), which model.backbone.type={backbone.type!r} of the run does '
            f'not take ({error}). Give a protocol without a backbone, such as --protocol imagenet, to probe the last '
            'output'
        ) from error
