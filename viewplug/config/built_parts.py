"""The parts of a config that mmengine's registries build by their ``type``: hooks, steps, data sets, the model."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from mmengine.registry import DATASETS, HOOKS, MODELS, TRANSFORMS, DefaultScope, Registry

from viewplug.config.options import READ
from viewplug.registry import check_not_hidden
from viewplug.unknown_type import instead_of_type

BUILT = {'custom_hooks': HOOKS, 'model': MODELS}
"""Keys of a config below which there is such a part, or a list of them."""
INSIDE = {'pipeline': TRANSFORMS, 'transforms': TRANSFORMS, 'dataset': DATASETS, 'datasets': DATASETS}
"""Keys of parts below which there is one, or a list of them, or lists in a list. Only a data set's pipeline is so for
sure: parts of somebody's own may have arguments of these names."""
NOT_IN = ('data_preprocessor', 'paramwise_cfg', 'metainfo')
"""Keys below which there is none: views in batch have steps of their own, and the others names of anything."""


def check_types(cfg: Mapping[str, Any]) -> None:
    """
    Raises:
        ValueError: the model, a hook or a step of a pipeline has no type, or is no more than a name; below keys that
            may be arguments of anything, a dict that has a key much like type, or a name beside parts that have one.
            (Of data sets ``leaf_configs`` says it.)
    """
    hooks = cfg.get('custom_hooks')
    if isinstance(hooks, Mapping):
        raise ValueError(f'custom_hooks is a list of hooks, got {dict(hooks)}: put it into brackets')
    for place, part, registry in _built_parts(cfg):
        if isinstance(part, str):
            raise ValueError(f'{place}: {part!r} is a name, and a {registry.name} is a dict: dict(type={part!r})')
        if registry is not DATASETS:
            check_typed(place, part)


def check_typed(place: str, part: Mapping[str, Any]) -> None:
    """
    Raises:
        ValueError: a part has no type.
    """
    if 'type' not in part:
        raise ValueError(f'{place}: {dict(part)} has no type, by which it is built{instead_of_type(part)}')


def check_hidden(cfg: Mapping[str, Any], scope: str | None = None) -> None:
    """
    Args:
        scope: where names are looked for if the config has no default_scope; None: the one in use now.

    Raises:
        ValueError: somebody registered a class of a part's bare name in mmengine's root, and another would be built.
    """
    with DefaultScope.overwrite_default_scope(cfg.get('default_scope') or scope):
        for place, part, registry in _built_parts(cfg):
            name = None if isinstance(part, str) else part.get('type')
            if isinstance(name, str) and '.' not in name and '_scope_' not in part:
                try:
                    check_not_hidden(name, registry)
                except ValueError as error:
                    raise ValueError(f'{place}: {error}') from None


def _built_parts(cfg: Mapping[str, Any]) -> Iterator[tuple[str, Mapping | str, Registry]]:
    """With their places; in lists also what is a text. One without a type only where it must have one."""
    for key, part in cfg.items():
        if key == 'default_hooks':
            for name, hook in (part or {}).items():
                yield from _below(hook, f'{key}.{name}', HOOKS, sure=True)
        elif key in READ:  # others are variables
            yield from _below(part, key, BUILT.get(key), sure=True)


def _below(
    part: Any, place: str, registry: Registry | None, sure: bool
) -> Iterator[tuple[str, Mapping | str, Registry]]:
    if isinstance(part, Mapping):
        if registry is not None and (sure or 'type' in part or instead_of_type(part)):
            yield place, part, registry
        for key, child in part.items():
            if key not in NOT_IN:
                steps = key == 'pipeline' and registry is DATASETS
                yield from _below(child, f'{place}.{key}', INSIDE.get(key), sure=steps)
    elif isinstance(part, list | tuple):
        parts = sure or any(isinstance(child, Mapping) and 'type' in child for child in part)
        for number, child in enumerate(part):
            if isinstance(child, str) and parts and registry in (HOOKS, TRANSFORMS):
                yield f'{place}.{number}', child, registry
            yield from _below(child, f'{place}.{number}', registry, sure)
