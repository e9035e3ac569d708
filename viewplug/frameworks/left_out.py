"""What the config of a neck or head leaves out, and is read off what stands before it."""

from __future__ import annotations

import inspect

from torch import nn

from viewplug.backbones.layout import backbone_layout
from viewplug.registry import class_of


def with_layout(neck: dict | nn.Module, backbone: nn.Module, entry: str = 'cls') -> dict | nn.Module:
    """``neck`` with ``in_channels`` and ``in_strides`` where it takes them (:func:`arguments_of`) and was not given
    them: one number a map, or the last map's where the type hint is ``int``.

    Args:
        entry: which entry of a mapping it reads.
    """
    if isinstance(neck, nn.Module):
        return neck
    wanted = {'in_channels', 'in_strides'} & arguments_of(neck) - set(neck)
    if not wanted:
        return neck
    layout = dict(zip(('in_channels', 'in_strides'), backbone_layout(backbone, entry=entry), strict=True))
    hints = {key: one.annotation for key, one in inspect.signature(class_of(neck['type'])).parameters.items()}
    return {**neck, **{key: layout[key][-1] if hints.get(key) in (int, 'int') else layout[key] for key in wanted}}


def arguments_of(cfg: dict) -> set[str]:
    """Names of the arguments that may be filled in: those that a component of ours, or one derived from ours, takes,
    and those that any other cannot do without.

    ``__init__(self, own, **kwargs)`` of a derived class hands the others on.
    """
    kind = class_of(cfg['type'])
    if not inspect.isclass(kind):
        return set()
    bases, names = inspect.getmro(kind), set()
    if not any(base.__module__.startswith('viewplug.') for base in bases):
        parameters = inspect.signature(kind).parameters.values()
        return {one.name for one in parameters if one.default is one.empty}
    for base in bases:
        if '__init__' in base.__dict__:
            parameters = inspect.signature(base.__init__).parameters.values()
            names |= {one.name for one in parameters}
            if all(one.kind is not one.VAR_KEYWORD for one in parameters):
                break
    return names
