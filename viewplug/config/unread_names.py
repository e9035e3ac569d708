"""Names that a config file sets and nothing reads: mmengine takes every one without a word."""

from __future__ import annotations

import ast
import filecmp
import logging
import re
from collections.abc import Iterator
from pathlib import Path

from mmengine import Config
from mmengine.logging import print_log

from viewplug.config.mistakes import places_of
from viewplug.config.options import READ, parts_made_with
from viewplug.nearest import near

OF_TOOLS = {'demo', 'tta_model', 'tta_pipeline'}
"""Read by --demo, and by the test tools of mmpretrain and mmdet."""
MOVED = {'seed': ', did you mean randomness=dict(seed=...)?'}
"""Names of OpenMMLab's configs before mmengine, whose nearest name today is another thing."""


def check_names(path: str | Path, cfg: Config) -> None:
    """Look at the top-level names of a Python config file, and of the files that it inherits from.

    A name that no run reads is a variable: its file uses it, or one that inherits from it. Names that begin with an
    underscore are not looked at, nor are those that parts of the config agree with: a file that a run has dumped has
    the variables beside the parts that they made. Where the run has changed these parts (``views='device'``, --demo),
    none agrees, so a dumped file that nobody has edited is not looked at.

    Args:
        path: the user's file.
        cfg: read from it.

    Raises:
        ValueError: a name that nothing uses is spelt almost as one that a run reads. Any other of the user's own file
            is a warning.
    """
    if Path(path).suffix != '.py' or 'runner_type' in cfg or _as_dumped(Path(path)):
        return
    known, used = READ | OF_TOOLS, set()
    (own, *bases) = files = list(_files(Path(path)))
    for file, names, loaded in files:  # an inherited name may be used by those that inherit it
        used |= loaded
        for name in sorted(names - known - used):
            if _agrees(name, cfg):
                continue
            alike = MOVED.get(name) or near(name, READ, cutoff=0.85)
            if alike:
                raise ValueError(
                    f'{file}: nothing reads {name}{alike} A variable to keep unused begins with an underscore'
                )
    for name in sorted(own[1] - known - own[2]):
        if _agrees(name, cfg):
            continue
        base = next((file for file, names, _ in bases if name in names), None)
        said = f'{path}: nothing reads {name}; it changes nothing in this run.'
        if base is not None:
            said = (
                f'{path}: {name} is a variable of {base}, which made its parts with it when it was read; setting it '
                'here changes nothing in this run. Set the part itself'
                f'{parts_made_with(Config.fromfile(base).get(name), cfg)}.'
            )
        print_log(said, 'current', logging.WARNING)


def _as_dumped(path: Path) -> bool:
    """Whether a run has written the file: mmengine's LocalVisBackend keeps the same below its work dir."""
    return any(filecmp.cmp(path, copy, shallow=False) for copy in path.parent.glob('*/vis_data/config.py'))


def _agrees(name: str, cfg: Config) -> bool:
    """Whether what a run reads has the value of this variable: under its name where it is a number or text."""
    value = cfg.get(name)
    if isinstance(value, (dict, list)):
        return bool(value) and bool(parts_made_with(value, cfg))
    read = {key: part for key, part in cfg.items() if key in READ}
    return any(place.split('.')[-1] == name for place in places_of(value, read))


def _files(path: Path, seen: frozenset = frozenset()) -> Iterator[tuple[Path, set[str], set[str]]]:
    """A config file and those it inherits from on disk: path, names set at its top level, names used anywhere."""
    text = path.read_text(encoding='utf-8')
    tree = ast.parse(text)
    names = [target for node in tree.body if isinstance(node, ast.Assign) for target in node.targets]
    nodes = list(ast.walk(tree))
    used = {node.id for node in nodes if isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Store)}
    used |= set(re.findall(r'_base_(?:\.|\[[\'"])(\w+)', text))  # also as '{{_base_.name}}', within a string
    yield path, {one.id for one in names if isinstance(one, ast.Name) and not one.id.startswith('_')}, used
    for base in _bases(tree, path):
        if base.suffix == '.py' and base.is_file() and base not in seen:
            yield from _files(base, seen | {base})


def _bases(tree: ast.Module, path: Path) -> Iterator[Path]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign) and any(getattr(one, 'id', '') == '_base_' for one in node.targets):
            values = [one.value for one in ast.walk(node.value) if isinstance(one, ast.Constant)]
            yield from (path.parent / value for value in values if isinstance(value, str))
        if isinstance(node, ast.ImportFrom) and node.level and node.module:  # with read_base(): from ..x import *
            yield path.parents[node.level - 1].joinpath(*node.module.split('.')).with_suffix('.py')
