"""Whether two lists of mmengine's parameter schedulers describe the same schedule."""

from __future__ import annotations

from collections import Counter
from itertools import zip_longest

NO_SETTINGS = ('optimizer', 'last_step', 'verbose', 'total_iters', 'best', 'num_bad_epochs', 'cooldown_counter')
"""A scheduler's attributes beside those with an underscore; ``total_iters`` follows from its begin and end, the last
three are what ReduceOnPlateau has seen so far."""


def schedule_differences(kinds: list[str], config: list[dict], saved: list[dict] | None) -> list[str]:
    """What they do not share, one phrase for each scheduler; progress aside.

    Args:
        kinds: the classes of the config's schedulers, by name.
        config: their attributes, before any step beyond their first.
        saved: states of the checkpoint's; None where it cannot be gone on from.
    """
    if saved is None:
        return ['no optimiser or no schedulers in the checkpoint'] if config else []
    if len(config) != len(saved):
        return [f"{len(saved)} schedulers in the checkpoint, {len(config)} in this run's config"]
    found = []
    for kind, mine, theirs in zip(kinds, config, saved, strict=True):
        keys = _settings(mine)
        if set(keys) != set(_settings(theirs)):
            found.append(f"a scheduler of another kind in the checkpoint, {kind} in this run's config")
            continue
        different = []
        for key in keys:
            there, here, name = theirs[key], mine[key], key
            if repr(there) == repr(here):
                continue
            if key == 'base_values':  # one of each parameter group
                name = f'initial {mine["param_name"]}'
                there, here = next(pair for pair in zip_longest(there, here) if repr(pair[0]) != repr(pair[1]))
            elif isinstance(here, Counter):  # milestones
                there, here = sorted(there.elements()), sorted(here.elements())
            different.append(f"{name} {there} in the checkpoint, {here} in this run's config")
        if different:
            found.append(f'{kind}: {", ".join(different)}')
    return found


def _settings(state: dict) -> list[str]:
    return [key for key in state if key not in NO_SETTINGS and not key.startswith('_')]
