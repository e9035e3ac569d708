"""The scope in which names of a config are looked for."""

from __future__ import annotations

import contextlib
from importlib import import_module

from mmengine import Config
from mmengine.config.utils import MODULE2PACKAGE
from mmengine.registry import Registry, root

from viewplug.nearest import near

KNOWN = ('viewplug', 'mmengine', *MODULE2PACKAGE)


def check_default_scope(cfg: Config) -> None:
    """
    Raises:
        ValueError: ``default_scope`` is spelt almost as a known one and no registry has it: mmengine would look for
            everything among its own parts, and say of some bare name that it is not there.
    """
    scope = cfg.get('default_scope')
    if not isinstance(scope, str) or scope in KNOWN:
        return
    alike = near(scope, KNOWN)
    if alike and not _has_registry(scope):
        raise ValueError(f'default_scope={scope!r}: no registry has this scope{alike}')


def _has_registry(scope: str) -> bool:
    """Whether somebody has a registry of this scope, once its module of registries is imported as mmengine does."""
    if all(part.isidentifier() for part in scope.split('.')):
        with contextlib.suppress(ImportError):
            import_module(f'{scope}.registry')
    return any(isinstance(one, Registry) and one._search_child(scope) is not None for one in vars(root).values())
