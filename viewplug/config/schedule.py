"""The length of a run as one number."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import accumulate, pairwise

from mmengine import Config

from viewplug.registry import class_name


def set_epochs(cfg: Config, epochs: int) -> None:
    """Make an epoch-based config ``epochs`` long, and its schedulers with it.

    Every scheduler's ``begin``, ``end``, ``T_max``, ``total_steps``, ``step_size``, ``milestones`` and ``periods`` are
    scaled by new over old length; one that shrinks to no epoch is left out. LocalizationHook's ``start`` and
    ``interval`` go along, and the ``warmup_epochs`` of the model's heads (DistillHead's temperature); other hooks'
    intervals stay.

    Raises:
        ValueError: ``epochs`` is below 1, or the config does not count epochs.
    """
    if epochs < 1:
        raise ValueError(f'epochs must be at least 1, got {epochs}')
    if 'max_epochs' not in (cfg.get('train_cfg') or {}):
        raise ValueError(
            f'the length can be set for configs with train_cfg.max_epochs, got train_cfg={cfg.get("train_cfg")}'
        )
    factor = epochs / cfg.train_cfg.max_epochs
    cfg.train_cfg.max_epochs = epochs
    if isinstance(cfg.get('param_scheduler'), dict):
        cfg.param_scheduler = [cfg.param_scheduler]
    for scheduler in cfg.get('param_scheduler') or []:
        if not scheduler.get('by_epoch', True):
            continue
        for key, least in (('begin', 0), ('end', 0), ('T_max', 0), ('total_steps', 1), ('step_size', 1)):
            if isinstance(scheduler.get(key), int):
                scheduler[key] = max(least, round(scheduler[key] * factor))
        if 'milestones' in scheduler:
            scheduler.milestones = [round(milestone * factor) for milestone in scheduler.milestones]
        if 'periods' in scheduler:  # their ends are scaled, so that they still reach the end of the run
            ends = [0, *(round(end * factor) for end in accumulate(scheduler.periods))]
            scheduler.periods = [max(1, after - before) for before, after in pairwise(ends)]
    for hook in cfg.get('custom_hooks') or []:
        if class_name(hook['type']) == 'LocalizationHook' and hook.get('by_epoch', True):
            hook.start = round(hook.start * factor)
            hook.interval = max(1, round(hook.interval * factor))
    for head in _heads(cfg):
        if 'warmup_epochs' in head:
            head['warmup_epochs'] = round(head['warmup_epochs'] * factor)
    if cfg.get('param_scheduler'):
        cfg.param_scheduler = [s for s in cfg.param_scheduler if not _vanished(s)]


def _heads(cfg: Config) -> Iterator[dict]:
    """Of the branches of a model; somebody's own may call something else so."""
    branches = (cfg.get('model') or {}).get('branches')
    for branch in branches.values() if isinstance(branches, dict) else ():
        head = branch.get('head') if isinstance(branch, dict) else None
        if isinstance(head, dict):
            yield head


def _vanished(scheduler: dict) -> bool:
    """Whether a scheduler of whole epochs, a warm-up say, has shrunk to none."""
    return scheduler.get('by_epoch', True) and 'end' in scheduler and scheduler.get('begin', 0) >= scheduler['end']
