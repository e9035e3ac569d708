"""Backbones, and what can be read off anybody's."""

from importlib.util import find_spec

from .channel_norm import ChannelLayerNorm
from .layout import backbone_layout
from .pooling import pooled
from .resnet161 import ResNet161

__all__ = ['ChannelLayerNorm', 'ResNet161', 'backbone_layout', 'pooled']

if find_spec('timm'):  # without it the rest works
    from .query_vit import QueryViT

    __all__ += ['QueryViT']
