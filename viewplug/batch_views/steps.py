"""Steps of a view cut in batch, built from configs in the per-sample vocabulary."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

from viewplug.registry import TRANSFORMS, class_name, class_of, somebodys

from .blur import GaussianBlur
from .color import ColorJitter, RandomGrayscale
from .contrastive_crop import ContrastiveCrop
from .crop import RandomFlip, RandomResizedCrop, Resize
from .cutout import Cutout
from .magnitude import Magnitude
from .noise import GaussianNoise
from .operator import Operator, RandomApply
from .quarter_turn import QuarterTurn
from .rotate import Rotate
from .sobel import Sobel
from .solarize import Solarize

CROPS = dict(RandomResizedCrop=RandomResizedCrop, ContrastiveCrop=ContrastiveCrop, Resize=Resize)
OPERATORS = dict(
    RandomFlip=RandomFlip,
    RandomApply=RandomApply,
    ColorJitter=ColorJitter,
    RandomGrayscale=RandomGrayscale,
    GaussianBlur=GaussianBlur,
    Solarize=Solarize,
    Rotate=Rotate,
    QuarterTurn=QuarterTurn,
    Cutout=Cutout,
    GaussianNoise=GaussianNoise,
    Sobel=Sobel,
)

PACKAGES = ('viewplug', 'mmpretrain', 'mmcv', 'mmengine')
"""Whose steps these stand in for; of the same name elsewhere another class may hide."""


def build_crop(cfg: Mapping[str, Any] | None) -> Any:
    """The crop that a view starts with, from its config.

    Raises:
        ValueError: another step, none, or an argument that is not known here.
    """
    name = None if cfg is None else _name(cfg)
    if name not in CROPS:
        raise ValueError(f'a view cut in batch starts with one of {", ".join(CROPS)}, got {name}')
    return _build(CROPS, cfg)


def build_operator(cfg: Mapping[str, Any]) -> Operator:
    """An operator from its config; those inside a RandomApply too.

    What is not among ``OPERATORS`` may be a class derived from ``Operator`` that is registered in ``MODELS``.

    Raises:
        ValueError: a step or an argument that is not known here.
    """
    own = _own_operator(cfg)
    if own is not None:
        return _made(own, _given(cfg))
    if _name(cfg) != 'RandomApply':
        return _build(OPERATORS, cfg)
    inner = cfg.get('transforms', [])
    inner = [build_operator(step) for step in ([inner] if isinstance(inner, Mapping) else inner)]
    if any(isinstance(step, RandomFlip) for step in inner):
        raise ValueError('RandomApply: a RandomFlip inside would not be recorded; set the prob of RandomFlip instead')
    return _build(OPERATORS, {**cfg, 'transforms': inner})


def _build(known: Mapping[str, type], cfg: Mapping[str, Any]) -> Any:
    name = _name(cfg)
    if name not in known:
        raise ValueError(
            f"{name} is not among the steps of views cut in batch: {', '.join(known)}; others need views='sample', or "
            'a class derived from viewplug.batch_views.Operator in MODELS'
        )
    own = somebodys(name, TRANSFORMS.parent)
    if own is not None and cfg['type'] in (name, f'mmengine.{name}') and '_scope_' not in cfg:
        raise ValueError(
            f'type={cfg["type"]!r} is {own.__module__}.{own.__name__}, registered with mmengine, and views cut in '
            f"batch have viewplug's: set views='sample', or type='viewplug.{name}'"
        )
    arguments = _given(cfg)
    accepted = _arguments(known[name])
    unknown = [key for key in arguments if key not in accepted]
    if unknown:
        raise ValueError(
            f'{name}: {", ".join(unknown)} not supported in views cut in batch, only {", ".join(accepted)}'
        )
    return _made(known[name], arguments)


def _made(kind: type, arguments: Mapping[str, Any]) -> Any:
    try:
        return kind(**arguments)
    except TypeError as error:
        raise ValueError(f'{kind.__name__}: {error}; it takes {", ".join(_arguments(kind))}') from None


def _given(cfg: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in cfg.items() if key not in ('type', '_scope_')}


def _own_operator(cfg: Mapping[str, Any]) -> type | None:
    """The class that somebody has registered, if it is an operator's."""
    kind = cfg.get('type') if isinstance(cfg, Mapping) else None
    if kind is None or (isinstance(kind, str) and kind.split('.')[0] in PACKAGES):
        return None
    found = class_of(kind)
    return found if inspect.isclass(found) and issubclass(found, Operator) else None


def _arguments(kind: type) -> list[str]:
    """What a step takes; ``**magnitude`` stands for the arguments of ``Magnitude``."""
    accepted = list(inspect.signature(kind).parameters)
    if 'magnitude' in accepted:
        own = ('name', 'fixed')
        accepted.remove('magnitude')
        accepted += [key for key in inspect.signature(Magnitude).parameters if key not in own]
    return accepted


def package_of(cfg: Mapping[str, Any]) -> str:
    """Of a step's class; a bare name is taken for one of ``PACKAGES``."""
    kind = cfg['type']
    if not isinstance(kind, str):
        return kind.__module__.split('.')[0]
    return kind.split('.')[0] if '.' in kind else cfg.get('_scope_', PACKAGES[0])


def _name(cfg: Mapping[str, Any]) -> str:
    if not isinstance(cfg, Mapping) or 'type' not in cfg:
        raise ValueError(f'a step of a view cut in batch is a dict with a type, got {cfg!r}')
    if package_of(cfg) not in PACKAGES:
        raise ValueError(
            f"views cut in batch know steps of {', '.join(PACKAGES[:3])}, got type={cfg['type']!r}; set views='sample'"
        )
    return class_name(cfg['type'])
