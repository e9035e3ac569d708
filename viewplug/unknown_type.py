"""A ``type=`` that no registry knows, and what may have been meant."""

from __future__ import annotations

import difflib
from collections.abc import Mapping

from mmengine.registry import DefaultScope, Registry

from viewplug.nearest import near

LIKE_TYPE = ('dtype', 'types')
"""Names of arguments that are much like it, and no misspellings."""


def is_unknown_type(text: str) -> bool:
    """Whether mmengine says with ``text`` that it knows no such part."""
    return 'is not in the' in text and 'registry' in text


def unknown_type(text: str, name: object, registry: Registry | None) -> str:
    """
    Args:
        text: what mmengine says of it.
        name: the type that was asked for.
        registry: where it was looked for.

    Returns:
        The nearest names in place of mmengine's advice, if any are near; mmengine's sentence if not.
    """
    if not isinstance(name, str) or registry is None:
        return text
    scope, _, bare = name.rpartition('.')
    written = _written(scope, registry)
    guess = near(bare, written, written=written)
    return f'{name} is not in the {registry.name} registry{guess}' if guess else text


def instead_of_type(part: Mapping[str, object]) -> str:
    """'; write type in place of typ', of a part without a type that has a key much like it; or nothing."""
    names = [key for key, value in part.items() if isinstance(value, str | type) and key not in LIKE_TYPE]
    found = difflib.get_close_matches('type', map(str, names), n=1, cutoff=0.75)
    return f'; write type in place of {found[0]}' if found else ''


def _written(scope: str, registry: Registry) -> dict[str, str]:
    """Each bare name that a type of this scope (or of none) may have meant, and how it is written."""
    root = registry
    while root.parent is not None:
        root = root.parent
    ours, default = root.children.get('viewplug'), DefaultScope.get_current_instance()
    if ours is not None:
        ours.import_from_location()
    named = root.children.get(scope)
    if named is not None:
        return {one: f'{scope}.{one}' for one in named.module_dict}
    names = {one: f'viewplug.{one}' for one in ours.module_dict} if ours is not None else {}
    names |= {one: one for one in root.module_dict}
    child = root.children.get(default.scope_name) if default is not None else None
    return names | {one: one for one in child.module_dict} if child is not None else names
