"""What a branch of ``viewplug.Siamese`` must be, and its head return."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from mmengine.model import ModuleDict
from torch import Tensor, nn

from viewplug.targets import MomentumTarget

if TYPE_CHECKING:
    from viewplug.frameworks.branch import Branch
    from viewplug.frameworks.siamese import Siamese


def check_name(name: str, branches: ModuleDict) -> None:
    """Refuse a name that would end in a wrong sum or in an error of torch's."""
    if 'loss' in name:
        raise ValueError(
            f"model.branches.{name}: give the branch a name without 'loss'; every key of it in the log, not its loss "
            'alone, would be added to the total loss'
        )
    if not name or '.' in name or hasattr(branches, name):
        raise ValueError(
            f'model.branches.{name}: give the branch another name; this one is empty, has a dot, or is an attribute of '
            "torch's ModuleDict, which keeps the branches"
        )


def check_head(name: str, head: nn.Module) -> None:
    """Refuse a head that Siamese cannot call."""
    if hasattr(head, 'loss_of_pairs'):
        return
    loss = getattr(head, 'loss', None)
    try:
        inspect.signature(loss).bind_partial('online', 'target', geometry=None, pair=(0, 1))
    except TypeError as error:
        raise ValueError(
            f'model.branches.{name}.head: {type(head).__name__} needs a method loss(self, online, target, '
            f'geometry=None, **extras) that returns a dict of tensors ({error})'
        ) from None


def check_views_used(model: Siamese) -> None:
    """
    Raises:
        ValueError: an online view that no branch compares, or a target view that none reads, would be encoded for
            nothing (and count in batch norm's statistics).
    """
    compared = {o for pairs in model.pairs.values() for o, _ in pairs}
    if not isinstance(model.target, MomentumTarget):  # which takes what the online side has encoded
        compared |= set(model.target_views)
    read = {view for view in model.target_views if any(its.sees('target', view) for its in model.reads.values())}
    for key, used in (('online_views', compared), ('target_views', read)):
        idle = [view for view in getattr(model, key) if view not in used]
        if idle:
            raise ValueError(
                f'model.{key}={getattr(model, key)}, but no branch of {", ".join(model.reads)} compares view '
                f"{', '.join(map(str, idle))}; leave it out there, or let a branch see it (the branch's {key}, pairs)"
            )


def checked_losses(name: str, branch: Branch, found: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    """``found``, what a branch's head returns, if something of it counts (or nothing shall: its weight is 0). Counts
    and flags become float, of which the log takes means.

    Raises:
        ValueError: no dict of tensors, or none of its keys has 'loss' in it, by which mmengine tells what to add up.
    """
    right = isinstance(found, Mapping) and all(isinstance(value, Tensor) for value in found.values())
    if right and (any('loss' in key for key in found) or not branch.weight):
        return {key: value if value.is_floating_point() else value.float() for key, value in found.items()}
    got = {key: type(value).__name__ for key, value in found.items()} if isinstance(found, Mapping) else found
    raise ValueError(
        f'model.branches.{name}.head: the loss of {type(branch.head).__name__} must return a dict of tensors, those '
        f"that are to be added up under keys with 'loss' in them, got {got}"
    )


def check_same_keys(name: str, branch: Branch, results: Sequence[Mapping[str, Tensor]]) -> None:
    """
    Raises:
        ValueError: a head returned other keys for one pair of views than for another, of which there is no mean.
    """
    keys = [sorted(result) for result in results]
    other = next((found for found in keys if found != keys[0]), None)
    if other is not None:
        raise ValueError(
            f'model.branches.{name}.head: the loss of {type(branch.head).__name__} must return the same keys for every '
            f'pair of views, of which the mean is taken, got {", ".join(keys[0])} and {", ".join(other)}; return 0 '
            'where a pair has no such loss'
        )
