"""The model of a config with the data preprocessor that a Runner would give it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def preprocessor_config(cfg: Mapping[str, Any]) -> Any:
    """Settings of the data preprocessor as mmengine's Runner takes them: the model's own, otherwise the config's.

    Returns:
        The dict in ``cfg`` itself, an empty one where there is none.
    """
    model = cfg.get('model')
    own = model if isinstance(model, Mapping) and 'data_preprocessor' in model else cfg
    return own.get('data_preprocessor') or {}


def model_config(cfg: Mapping[str, Any]) -> Any:
    """A copy of ``cfg.model`` with ``cfg``'s data preprocessor, where it has none of its own."""
    model = cfg['model'].copy()
    settings = preprocessor_config(cfg)
    if settings:
        model.setdefault('data_preprocessor', settings)
    return model
