"""Weighted sums over small windows of a map that read the windows only: a CPU's way where boxes are small."""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

# Measured on one core, forward and backward, in times of a cell in a matrix product: a cell that is listed; a cell of
# the maps, whose channels are brought together and torn apart.
_LISTED, _TURNED = 9, 30
# Cells that are torn apart at a time; so many stay in a processor's first cache until they are.
_TURNED_AT_A_TIME = 64


class Windows(NamedTuple):
    """Weights that are 0 outside of windows, each for its rows times for its columns.

    Attributes:
        top: (N, K, h) int32, the first row of each window; ``left``: (N, K, w), the first column.
        down: (N, K, h, T) weights of its T rows; ``across``: (N, K, w, S) of its S columns.
    """

    top: Tensor
    left: Tensor
    down: Tensor
    across: Tensor

    @property
    def cells(self) -> int:
        """How many cells a window has."""
        return self.down.shape[-1] * self.across.shape[-1]

    def listed(self, height: int, width: int) -> tuple[Tensor, Tensor]:
        """Of every window, one after the other (B, T * S): its cells' places in the N maps, and their weights."""
        rows = self.top.unsqueeze(-1) + torch.arange(self.down.shape[-1], dtype=torch.int32)
        rows = (rows + height * torch.arange(len(rows), dtype=torch.int32).view(-1, 1, 1, 1)) * width
        columns = self.left.unsqueeze(-1) + torch.arange(self.across.shape[-1], dtype=torch.int32)
        places = rows[:, :, :, None, :, None] + columns[:, :, None, :, None, :]
        weights = self.down[:, :, :, None, :, None] * self.across[:, :, None, :, None, :]
        return places.reshape(-1, self.cells), weights.reshape(-1, self.cells)


def windows_cost(cells: int, bins: int, height: int, width: int) -> int:
    """Time of :func:`window_sums` for ``bins`` windows of ``cells`` on a map, in that of a cell in a matrix product."""
    return _LISTED * cells * bins + _TURNED * height * width


def window_sums(maps: Tensor, windows: Windows) -> Tensor:
    """``einsum('nchw,nkih,nkjw->nkijc')`` of maps (N, C, H, W) with the weights of K x h x w windows each.

    Between forward and backward only ``windows`` are kept.

    Returns:
        (N, K, h, w, C). Differentiable in ``maps``, once.
    """
    return _WindowSums.apply(maps, *windows)


class _WindowSums(torch.autograd.Function):
    """Embedding bags both ways: a window sums up its cells; in backward a cell sums up what its windows were given, in
    a third of the time that autograd's own way back from a bag takes."""

    @staticmethod
    def forward(ctx, maps: Tensor, *windows: Tensor) -> Tensor:
        ctx.save_for_backward(*windows)
        ctx.shape = maps.shape
        channels_last = maps.is_contiguous(memory_format=torch.channels_last) and not maps.is_contiguous()
        ctx.order = torch.channels_last if channels_last else torch.contiguous_format
        windows = Windows(*windows)
        cells = maps.flatten(2).transpose(1, 2).reshape(-1, maps.shape[1])
        places, weights = windows.listed(*maps.shape[2:])
        sums = F.embedding_bag(places, cells, mode='sum', per_sample_weights=weights)
        return sums.view(*windows.top.shape, windows.left.shape[2], -1)

    @staticmethod
    @once_differentiable
    def backward(ctx, grad: Tensor) -> tuple[Tensor | None, ...]:
        windows, (number, channels, height, width) = Windows(*ctx.saved_tensors), ctx.shape
        places, weights = (values.flatten() for values in windows.listed(height, width))
        order = places.argsort(stable=True)
        counts = torch.bincount(places, minlength=number * height * width)
        windows_of_cells, starts = order // windows.cells, counts.cumsum(0) - counts
        grad = grad.reshape(-1, channels).contiguous()
        cells = F.embedding_bag(windows_of_cells, grad, starts, mode='sum', per_sample_weights=weights[order])
        maps = torch.empty(ctx.shape, dtype=grad.dtype, memory_format=ctx.order)
        into = maps.flatten(2).transpose(1, 2).split(_TURNED_AT_A_TIME, dim=1)
        for some, those in zip(into, cells.view(number, -1, channels).split(_TURNED_AT_A_TIME, dim=1), strict=True):
            some.copy_(those)
        return maps, None, None, None, None
