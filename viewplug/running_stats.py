"""Batch norm's running statistics over several processes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import torch
from mmengine.dist import all_reduce, get_world_size
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase


@torch.no_grad()
def average_running_stats(*models: nn.Module) -> None:
    """Set running means and variances to their average over the processes, by one collective; call it on all of them.

    A process follows its own batches, and DDP as mmengine sets it up (``broadcast_buffers=False``) leaves it at that:
    in evaluation mode W processes are W networks. Running statistics are linear in those of the batches, so averaged
    before they are used they are what averaging at every step would have made them. Equal ones (SyncBN's, or averaged
    before) stay as they are, to the bit. One process, or models without any: nothing happens.

    Args:
        models: with norm layers anywhere inside; other buffers (a queue, a centre) are left alone.
    """
    stats = _stats_of(models) if get_world_size() > 1 else []
    if not stats:
        return
    # In float64 W equal numbers add up without rounding.
    flat = torch.cat([stat.flatten() for stat in stats])
    total = flat.double()
    all_reduce(total)
    means = (total / get_world_size()).to(flat.dtype).split([stat.numel() for stat in stats])
    torch._foreach_copy_(stats, [mean.view_as(stat) for mean, stat in zip(means, stats, strict=True)])


@contextmanager
def averaged_running_stats(*models: nn.Module) -> Iterator[None]:
    """:func:`average_running_stats` for the time of a ``with`` block; each process has its own again behind it."""
    stats = _stats_of(models) if get_world_size() > 1 else []
    own = [stat.clone() for stat in stats]
    average_running_stats(*models)
    try:
        yield
    finally:
        if own:
            torch._foreach_copy_(stats, own)


def _stats_of(models: Iterable[nn.Module]) -> list[Tensor]:
    layers = dict.fromkeys(m for model in models for m in model.modules() if isinstance(m, _NormBase))
    # .data: a forward whose backward is still to come may have kept them, though it does not read them.
    return [s.data for layer in layers for s in (layer.running_mean, layer.running_var) if s is not None]
