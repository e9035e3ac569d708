"""Backbones, and what can be read off anybody's."""

from .layout import backbone_layout

__all__ = ['backbone_layout']
