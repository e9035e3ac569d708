"""Losses alone, forward and backward, with what belongs to them: normalising embeddings, the queue and its update.

Values and gradients are the same for all. lightly and mmpretrain copy the queue in every step, and so they do here.
mmpretrain's queue is what is left of its MoCo without networks and shuffling; its NT-Xent is its SimCLR with nothing
for a network. Peak memory: of the module, the embeddings and two calls, in a process of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from . import loss_peers as peers
from .contest import Contest, Contestant, Setting


def contests(setting: Setting) -> list[Contest]:
    toy = setting.quick
    n, dim = (8, 16) if toy else (256, 128)
    found = []
    for key, queue_len in dict(queue_short=32 if toy else 4096, queue_long=64 if toy else 65536).items():
        work = f'InfoNCE, {n} queries of {dim}, queue {queue_len:,}'
        found.append(_contest(key, work, peers.queue(queue_len, dim, setting.device), n, dim, False, setting))
    found.append(_contest('in_batch', f'NT-Xent, 2 x {n} of {dim}', peers.in_batch(), n, dim, True, setting))
    for key, width in dict(cosine_narrow=16 if toy else 256, cosine_wide=32 if toy else 2048).items():
        found.append(_contest(key, f'negative cosine, {n} of {width}', peers.cosine(), n, width, False, setting))
    return [*found, _dino(setting), _ibot(setting)]


def _dino(setting: Setting) -> Contest:
    """Two global and eight local views through the online projection, the global ones through the target's."""
    toy = setting.quick
    n, dim, prototypes = (4, 16, 32) if toy else (8, 384, 65536)
    makers = peers.dino(dim, prototypes, setting.device)
    entrants = [
        Contestant(
            name,
            lambda make=make: LossCall(make(), 10 * n, dim, False, setting.device, target_rows=2 * n),
            n,
            n,
            name == 'viewplug',
        )
        for name, make in makers.items()
    ]
    work = f'DINO: projections, loss and centre, {n} images, 2 + 8 views, {prototypes:,} prototypes'
    return Contest('dino', work, 'images', entrants, seconds=0 if toy else 30, memory=True)


def _ibot(setting: Setting) -> Contest:
    """Of each image another number of patches is masked, a third of them on average."""
    toy = setting.quick
    n, side, prototypes = (3, 4, 16) if toy else (4, 14, 8192)
    shares = torch.linspace(0.1, 0.5, n)[:, None, None]
    masks = torch.rand(n, side, side, generator=torch.Generator().manual_seed(2)) < shares
    rows = int(masks.sum())
    makers = peers.ibot(masks, prototypes, setting.device)
    work = f'iBOT: loss and centre, {rows} masked patches of {n} images, {prototypes:,} prototypes'
    return _contest('ibot', work, makers, rows, prototypes, False, setting)


def _contest(
    key: str, work: str, makers: Mapping[str, Callable], n: int, dim: int, both: bool, setting: Setting
) -> Contest:
    entrants = [
        Contestant(name, lambda make=make: LossCall(make(), n, dim, both, setting.device), n, n, name == 'viewplug')
        for name, make in makers.items()
    ]
    return Contest(key, work, 'images', entrants, seconds=0 if setting.quick else 8, memory=True)


class LossCall:
    """Forward and backward of a loss on random embeddings that are the same for everybody and not normalised.

    Args:
        loss: (online (N, D), target (N, D)) -> scalar.
        n, dim: N, D.
        both: the target has a gradient too.
        device: of the embeddings.
        target_rows: where the target has another number of embeddings.
    """

    def __init__(
        self,
        loss: Callable[[Tensor, Tensor], Tensor],
        n: int,
        dim: int,
        both: bool,
        device: str,
        target_rows: int | None = None,
    ) -> None:
        self.loss = loss
        random = torch.Generator().manual_seed(0)
        self.online, self.target = (
            torch.randn(rows, dim, generator=random).to(device).requires_grad_(grad)
            for rows, grad in ((n, True), (target_rows or n, both))
        )

    def __call__(self) -> Tensor:
        self.online.grad = self.target.grad = None
        loss = self.loss(self.online, self.target)
        loss.backward()
        return loss.detach()
