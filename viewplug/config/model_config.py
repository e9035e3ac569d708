"""What a config says of its model: the data preprocessor that a Runner would give it, weights out of a file."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from viewplug.registry import class_name


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


def is_pretrained(init_cfg: Any) -> bool:
    """Whether this ``init_cfg`` reads a file: of type 'Pretrained', or its class in a pure-Python config."""
    kind = init_cfg.get('type') if isinstance(init_cfg, Mapping) else None
    return kind is not None and class_name(kind) in ('Pretrained', 'PretrainedInit')
