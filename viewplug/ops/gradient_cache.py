"""Batches beyond memory with their exact gradient: embeddings of a part at a time, computed again in backward."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase
from torch.utils.checkpoint import checkpoint


@torch.compiler.disable  # which knows no checkpoint that has contexts
def in_parts(function: Callable[[Sequence[Tensor]], Any], inputs: Sequence[Tensor], rows: int, network: nn.Module):
    """``function(inputs)``, some rows at a time, keeping no activations between forward and backward.

    Gradient caching (Gao et al., arXiv:2101.06983, sec. 3): a first pass without graph gives all embeddings, on which
    the loss of the whole batch and its gradient are taken; a second pass, part after part, takes that gradient to the
    weights. Memory holds the activations of one part, time is one forward more. Here the second pass is a checkpoint
    of each part, so that whatever backward reaches it by (DDP's reducer, gradients gathered over processes, loss
    scaling) stays as it is, and random numbers and autocast of the first pass come back in the second.

    The gradient is that of the whole batch wherever an image does not see others on its way. Batch norm does: it takes
    its statistics over a part. The second pass leaves running statistics alone, so each image counts once in them.

    Args:
        function: from a sequence of (n, ...) tensors to dicts, tuples or lists of tensors with n rows. Under
            ``torch.no_grad`` it is called part by part and nothing else.
        inputs: tensors of N rows each.
        rows: how many of them at a time, at most; parts differ by one row at most.
        network: whose norms keep their running statistics in the second pass.
    """
    if rows < 1:
        raise ValueError(f'gradient caching needs at least one row at a time, got {rows}')
    number = math.ceil(len(inputs[0]) / rows)
    parts = zip(*(values.tensor_split(number) for values in inputs), strict=True)
    if not torch.is_grad_enabled():
        return _joined([function(part) for part in parts])
    contexts = lambda: (nullcontext(), _kept_statistics(network))  # noqa: E731
    return _joined([checkpoint(function, part, use_reentrant=False, context_fn=contexts) for part in parts])


@contextmanager
def _kept_statistics(network: nn.Module) -> Iterator[None]:
    """Norms that train normalise with their batch as before, and do not count it."""
    norms = [m for m in network.modules() if isinstance(m, _NormBase) and m.training and m.track_running_stats]
    before = [(norm.momentum, norm.num_batches_tracked.clone()) for norm in norms]
    try:
        for norm in norms:
            norm.momentum = 0.0  # None would count evenly
        yield
    finally:
        for norm, (momentum, number) in zip(norms, before, strict=True):
            norm.momentum = momentum
            norm.num_batches_tracked.copy_(number)


def _joined(parts: Sequence[Any]) -> Any:
    first = parts[0]
    if isinstance(first, dict):
        return {key: _joined([part[key] for part in parts]) for key in first}
    if isinstance(first, tuple | list):
        return type(first)(_joined(column) for column in zip(*parts, strict=True))
    return torch.cat(parts)
