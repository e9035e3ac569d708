"""Keys of a config that ``tools/train.py`` follows, and mmengine's Runner by itself passes over."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from viewplug.config.model_config import preprocessor_config
from viewplug.registry import class_name


def check_followed(cfg: Mapping[str, Any]) -> None:
    """
    Raises:
        ValueError: ``views='device'``, ``in_memory`` or ``speed`` of a config whose other parts do not say the same.
    """
    hooks = [_kind(hook) for hook in cfg.get('custom_hooks') or []]
    dataset = (cfg.get('train_dataloader') or {}).get('dataset') or {}
    for key, asked, followed, function in (
        ('views', cfg.get('views') == 'device', _kind(preprocessor_config(cfg)) == 'BatchViews', 'place_views'),
        ('in_memory', bool(cfg.get('in_memory')), _kind(dataset) == 'InMemoryDataset', 'place_views'),
        ('speed', bool(cfg.get('speed')), 'StepSpeedHook' in hooks, 'add_speed_hook'),
    ):
        if asked and not followed:
            raise ValueError(
                f"{key}={cfg[key]!r} is a key for tools/train.py, and nobody followed it: before this config's Runner "
                f'is built, call viewplug.config.switches.{function}(cfg), or leave the key out'
            )


def _kind(part: Any) -> str:
    if not isinstance(part, Mapping):
        return type(part).__name__  # an instance, which a Runner takes too
    return class_name(part['type']) if 'type' in part else ''
