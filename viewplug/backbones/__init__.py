"""Backbones, and what can be read off anybody's."""

from importlib.util import find_spec

from .layout import backbone_layout
from .pooling import pooled

__all__ = ['backbone_layout', 'pooled']

if find_spec('timm'):  # without it the rest works
    from .query_vit import QueryViT

    __all__ += ['QueryViT']
