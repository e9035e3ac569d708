"""What the config of a neck or head of ours leaves out, and is read off what stands before it."""

from __future__ import annotations

import inspect

from torch import nn

from viewplug.backbones.layout import backbone_layout
from viewplug.registry import MODELS


def with_layout(neck: dict | nn.Module, backbone: nn.Module, entry: str = 'cls') -> dict | nn.Module:
    """``neck`` with ``in_channels`` and ``in_strides`` where one of ours takes them and was not given them.

    Args:
        entry: which entry of a mapping it reads.
    """
    if isinstance(neck, nn.Module):
        return neck
    wanted = {'in_channels', 'in_strides'} & arguments_of(neck) - set(neck)
    if not wanted:
        return neck
    layout = dict(zip(('in_channels', 'in_strides'), backbone_layout(backbone, entry=entry), strict=True))
    return {**neck, **{key: layout[key] for key in wanted}}


def arguments_of(cfg: dict) -> set[str]:
    """Names of the arguments that the component of ``cfg`` takes, if it is one of ours or a class derived from one.

    ``__init__(self, own, **kwargs)`` of a derived class hands the others on.
    """
    kind = _class_of(cfg['type'])
    bases = inspect.getmro(kind) if inspect.isclass(kind) else ()
    names: set[str] = set()
    if not any(base.__module__.startswith('viewplug.') for base in bases):
        return names
    for base in bases:
        if '__init__' in base.__dict__:
            parameters = inspect.signature(base.__init__).parameters.values()
            names |= {one.name for one in parameters}
            if all(one.kind is not one.VAR_KEYWORD for one in parameters):
                break
    return names


def _class_of(kind: str | type) -> type | None:
    """What the registry would build of ``type=``, if there is such a part."""
    if not isinstance(kind, str):
        return kind
    found = MODELS.get(kind if '.' in kind else f'viewplug.{kind}')
    if found is None:
        with MODELS.switch_scope_and_registry(None) as registry:  # the default scope's, as mmengine's build takes it
            found = registry.get(kind)
    return found
