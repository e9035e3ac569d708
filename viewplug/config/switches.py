"""``views``, ``in_memory`` and ``speed`` of a config: one key each for what would be many lines."""

from __future__ import annotations

import inspect

from mmengine import Config

from viewplug.argument_kinds import fits
from viewplug.batch_views.switch import to_device_views
from viewplug.hooks.step_speed import SWITCHES, StepSpeedHook
from viewplug.registry import class_name


def name_classes(part: Config | dict | list | tuple) -> None:
    """Put names in place of viewplug's own classes behind ``type=``, in a pure-Python config: what the command line
    changes (``--demo``, ``views='device'``) is told from the names."""
    for value in part.values() if hasattr(part, 'values') else part:
        if isinstance(value, (dict, list, tuple)):
            name_classes(value)
    kind = part.get('type') if hasattr(part, 'get') else None
    if inspect.isclass(kind) and kind.__module__.split('.')[0] == 'viewplug':
        part['type'] = f'viewplug.{kind.__name__}'


def unscope_collate(cfg: Config) -> None:
    """Take ``_scope_``, which a base such as ``mmpretrain::...`` leaves in each part, out of ``collate_fn``: mmengine
    hands what stands there on to the function, and the first batch of an inherited config would be a TypeError."""
    for key in ('train_dataloader', 'val_dataloader', 'test_dataloader'):
        loaders = cfg.get(key) or []
        for loader in loaders if isinstance(loaders, list | tuple) else [loaders]:  # MultiValLoop has several
            collate = loader.get('collate_fn') if isinstance(loader, dict) else None
            if isinstance(collate, dict):
                collate.pop('_scope_', None)


def place_views(cfg: Config) -> None:
    """``views='device'`` (and ``in_memory=True``) of the config or the command line."""
    views = cfg.get('views', 'sample')
    if views not in ('sample', 'device'):
        raise ValueError(f"views must be 'sample' (in loader workers) or 'device' (in batch), got {views!r}")
    if not fits(cfg.get('in_memory'), bool | None):
        raise ValueError(f'in_memory must be True or False, got {cfg.in_memory!r}')
    if cfg.get('in_memory') and views != 'device':
        raise ValueError("in_memory=True keeps whole images for views made in batch: set views='device' too")
    if views == 'device':
        to_device_views(cfg, cfg.get('in_memory', False))


def speed_switches(speed: str | dict | None) -> dict:
    """``speed`` of a config or the command line as arguments of ``viewplug.StepSpeedHook``."""
    if speed in (None, False):
        return {}
    if speed == 'auto':
        return dict.fromkeys(SWITCHES, 'auto')
    known = list(inspect.signature(StepSpeedHook).parameters)
    if not isinstance(speed, dict):
        raise ValueError(f"speed must be 'auto' or a dict with some of the keys {', '.join(known)}, got {speed!r}")
    unknown = sorted(set(speed) - set(known))
    if unknown:
        raise ValueError(f'speed takes the keys {", ".join(known)}, got {", ".join(unknown)}')
    return speed


def add_speed_hook(cfg: Config) -> None:
    """``speed=dict(channels_last=True, ...)`` or ``speed='auto'``: its hook, unless the config has one to update."""
    speed = speed_switches(cfg.get('speed'))
    if not speed:
        return
    hooks = list(cfg.get('custom_hooks') or [])
    present = [hook for hook in hooks if isinstance(hook, dict) and class_name(hook['type']) == 'StepSpeedHook']
    if present:
        present[0].update(speed)
    cfg.custom_hooks = hooks if present else [*hooks, dict(type='viewplug.StepSpeedHook', **speed)]
