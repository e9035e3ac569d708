"""Sentences on weights that a module should have got from a file and has not."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

from viewplug.transfer.matching import Match, describe

if TYPE_CHECKING:
    from viewplug.transfer.check import Origin


def not_loaded(origin: Origin, found: Match, weights: dict, number: int, nothing: bool) -> str:
    """Of a module that got nothing, or not what a library of other names has."""
    count = f'none of its {number} tensors has its' if nothing else f'{number} of its tensors do not have their'
    start = f'{count} value from {origin.checkpoint}; it would train from scratch. '
    if found.layout != found.own_layout:
        cure = (
            f'The file has {found.layout} names and the model {found.own_layout} names: let viewplug.InitFromSSL '
            'write them (tools/train.py CONFIG --init CKPT)'
        )
    elif origin.by_load_from:
        cure = (
            'load_from takes names as they are. In its place set model.'
            f"{origin.module}.init_cfg=dict(type='Pretrained', checkpoint=CKPT, prefix='{found.prefix}'), or let "
            'tools/train.py CONFIG --init CKPT do it'
        )
    elif origin.by_hook:
        cure = 'It was written and changed again: is there another hook that loads or initialises it?'
    else:
        cure = f"Set model.{origin.module}.init_cfg.prefix='{found.prefix}' (now {origin.source!r})"
    return f'{start}{describe(weights)} {cure}'


def incomplete(origin: Origin, found: Match, state: dict, stale: list, bad: list, required: Sequence[str]) -> list[str]:
    """Errors about what is required, and about layers that are loaded by halves."""
    needed = [key for key in bad if any(within(f'{origin.module}.{key}', name) for name in required)]
    loaded = {key.rpartition('.')[0] for key in found.weights if key not in stale and state[key].dim()}
    halves = [key for key in bad if key not in needed and key.rpartition('.')[0] in loaded]
    errors = []
    if needed:
        kinds = [
            f'{sum(key in names for key in needed)} {label}'
            for label, names in (
                ('in the file but not loaded', stale),
                ('of another shape', found.mismatched),
                ('not in the file', found.missing),
            )
            if any(key in names for key in needed)
        ]
        shapes = next((f' ({k}: {a} in the file, {b} here)' for k, (a, b) in found.mismatched.items()), '')
        errors.append(
            f'{len(needed)} of {sum(v.is_floating_point() for v in state.values())} tensors do not have their value '
            f'from {origin.checkpoint}: {", ".join(kinds)}, such as {needed[0]}{shapes}. {_cause(found, needed)}'
        )
    if halves:
        errors.append(f'{len(halves)} tensors were left out of layers that loaded otherwise, such as {halves[0]}')
    return errors


def _cause(found: Match, needed: list[str]) -> str:
    """Why ``needed`` did not arrive, as far as names tell."""
    if all(key in found.weights for key in needed):
        return (
            'Was something else loaded over them, or initialised, or does init_cfg not know their names? '
            'viewplug.InitFromSSL writes them last (tools/train.py CONFIG --init CKPT)'
        )
    new = {} if found.unexpected or not set(needed) <= set(found.missing) else _new_layers(found, needed)
    if new and not any(re.fullmatch(r'(layer)?\d+', name) for name in new):  # not those of a deeper network
        return f'If they are meant to be new, say so: viewplug.TransferCheckHook(new={list(new)})'
    return 'Another depth, width or kind of network than the one that was pre-trained?'


def _new_layers(found: Match, needed: list[str]) -> dict[str, None]:
    """The names, without those of what holds them, of the largest parts of which the file has nothing."""
    known = {key[: dot.start()] for key in found.weights for dot in re.finditer(r'\.', key)}
    parts = {}
    for key in needed:
        names = key.split('.')
        part = next((name for i, name in enumerate(names[:-1], 1) if '.'.join(names[:i]) not in known), None)
        if part is None:  # of a layer that has its other tensors from the file
            return {}
        parts[part] = None
    return parts


def within(name: str, prefix: str) -> bool:
    """Whether ``name`` is ``prefix`` or below it; everything is below ''."""
    return name == prefix or not prefix or name.startswith(f'{prefix}.')
