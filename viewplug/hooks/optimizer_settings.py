"""Settings of an optimiser that loading a checkpoint has replaced, set back to the config's."""

from __future__ import annotations

from collections.abc import Collection, Sequence

NO_SETTINGS = ('params', 'param_names', 'foreach', 'fused', 'capturable', 'differentiable')
"""Keys of a parameter group that say which weights it has or how the same numbers are computed."""


def follow_config(groups: Sequence[dict], config: Sequence[dict], scheduled: Collection[str]) -> list[str]:
    """Give parameter groups the config's weight decay, momentum, betas and the like; what has changed, in phrases.

    Args:
        groups: an optimiser's, after it has loaded a checkpoint: torch takes all settings from there.
        config: the same, as they were before.
        scheduled: names that parameter schedulers move, which are left alone.
    """
    found: dict[str, None] = {}
    scheduled = (*scheduled, 'betas') if 'momentum' in scheduled else tuple(scheduled)
    for group, start in zip(groups, config, strict=True):
        for key, value in start.items():
            if key in NO_SETTINGS or key not in group or key.endswith(scheduled):  # initial_lr and max_lr go with lr
                continue
            if _plain(group[key]) != _plain(value):
                found[f"{key} {group[key]} in the checkpoint, {value} in this run's config"] = None
                group[key] = value
    return list(found)


def check_same_kind(saved: Sequence[dict], config: Sequence[dict]) -> None:
    """Tell another optimiser by its settings; torch would load it, and miss a number at the first step.

    Args:
        saved: parameter groups of a checkpoint.
        config: those of the run.

    Raises:
        ValueError: each has a setting that the other lacks (versions of torch only add some).
    """
    for theirs, mine in zip(saved, config):  # noqa: B905 (another number of groups has an error of torch's)
        missing, more = (sorted(a.keys() - b.keys() - set(NO_SETTINGS)) for a, b in ((mine, theirs), (theirs, mine)))
        if missing and [key for key in more if not key.startswith(('initial_', 'max_', 'min_'))]:
            raise ValueError(
                f'the checkpoint is of another optimiser: it has {", ".join(more)}, and optim_wrapper.optimizer has '
                f'{", ".join(missing)}; resume with its own, or start a new run from its weights (--init, or load_from)'
            )


def _plain(value):
    return list(value) if isinstance(value, tuple) else value
