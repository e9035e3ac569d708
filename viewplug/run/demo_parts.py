"""What ``--demo`` changes of a config, and so has to find there."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mmengine import Config

from viewplug.config.built_parts import check_typed

BUILT = ('model', 'model.backbone', 'optim_wrapper.optimizer')
"""Parts of every config with a demo that are built by their type."""
PIPELINE = 'train_dataloader.dataset.pipeline'


def check_parts(cfg: Config) -> None:
    """
    Raises:
        ValueError: a part that the demo makes smaller is missing, is no dict, or has no type.
    """
    for place in BUILT:
        check_typed(place, _dict_at(cfg, place))
    steps = _dict_at(cfg, PIPELINE.rpartition('.')[0]).get('pipeline')
    if not isinstance(steps, list | tuple):
        raise ValueError(f'{PIPELINE}={steps!r}: --demo takes the list of steps that make the views from there')


def check_siamese(cfg: Config) -> None:
    """Those that ``viewplug.Siamese`` has besides.

    Raises:
        ValueError: as ``check_parts``.
    """
    check_typed('model.target', _dict_at(cfg, 'model.target'))
    for name, branch in _dict_at(cfg, 'model.branches').items():
        for part in ('neck', 'head'):
            place = f'model.branches.{name}.{part}'
            if part == 'neck' and isinstance(branch, Mapping) and isinstance(branch.get(part), str):
                continue  # the name of another branch
            check_typed(place, _dict_at(cfg, place))


def _dict_at(cfg: Config, place: str) -> Mapping[str, Any]:
    found, at = cfg, ''
    for key in place.split('.'):
        found, at = found.get(key), f'{at}.{key}' if at else key
        if not isinstance(found, Mapping):
            raise ValueError(f'{at}={found!r}: --demo makes this part of the config smaller, and takes a dict there')
    return found
