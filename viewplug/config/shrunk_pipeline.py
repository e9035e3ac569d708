"""A pipeline for images of a fraction of the size."""

from __future__ import annotations

LENGTHS = ('scale', 'crop_size', 'size', 'patch_size', 'stride', 'jitter')
"""Arguments of transforms that are pixels."""


def shrunk_pipeline(config, factor: float):
    """The configs of a pipeline with all lengths in pixels divided by ``factor`` and rounded, at any depth."""
    if isinstance(config, dict):
        return {k: _divided(v, factor) if k in LENGTHS else shrunk_pipeline(v, factor) for k, v in config.items()}
    return [shrunk_pipeline(step, factor) for step in config] if isinstance(config, list) else config


def _divided(length, factor: float):
    if isinstance(length, tuple | list):
        return tuple(_divided(side, factor) for side in length)
    return round(length / factor)
