"""Weighted sums over small windows of a map that read the windows only: a CPU's way where boxes are small."""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

# Times on one core, forward and backward, in that of a multiply-add of a matrix product. For every channel: a cell that
# is listed, and a cell of the maps, whose channels are brought together and torn apart. Whatever the channels: a cell
# that is listed, and a call.
_SUMMED, _TURNED, _LISTED, _CALLED = 4, 30, 400, 9e6
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
        rows = self.top.unsqueeze(-1) + torch.arange(self.down.shape[-1], dtype=torch.int32, device=self.top.device)
        rows = (
            rows + height * torch.arange(len(rows), dtype=torch.int32, device=self.top.device).view(-1, 1, 1, 1)
        ) * width
        columns = self.left.unsqueeze(-1) + torch.arange(
            self.across.shape[-1], dtype=torch.int32, device=self.top.device
        )
        places = rows[:, :, :, None, :, None] + columns[:, :, None, :, None, :]
        weights = self.down[:, :, :, None, :, None] * self.across[:, :, None, :, None, :]
        return places.reshape(-1, self.cells), weights.reshape(-1, self.cells)


def windows_cost(listed: int, maps: Tensor) -> float:
    """Time of :func:`window_sums` with ``listed`` cells of windows in all, in multiply-adds of a matrix product."""
    channels, cells = maps.shape[1], maps[:, :1].numel()
    return channels * (_SUMMED * listed + _TURNED * cells) + _LISTED * listed + _CALLED


def window_sums(maps: Tensor, windows: Windows) -> Tensor:
    """``einsum('nchw,nkih,nkjw->nkijc')`` of maps (N, C, H, W) with the weights of K x h x w windows each.

    Embedding bags both ways: a window sums up its cells; in backward a cell sums up what its windows were given, in a
    third of the time that autograd's own way back from a bag takes. Only ``windows`` are kept between them.

    Returns:
        (N, K, h, w, C). Differentiable in ``maps``.
    """
    return _Sums.apply(maps, *windows)


class _Sums(torch.autograd.Function):
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
    def backward(ctx, grad: Tensor) -> tuple[Tensor | None, ...]:
        return _Spread.apply(grad, ctx.shape, ctx.order, *ctx.saved_tensors), None, None, None, None


class _Spread(torch.autograd.Function):
    """The transpose of :class:`_Sums`: of (N, K, h, w, C) to maps of ``shape``."""

    @staticmethod
    def forward(ctx, sums: Tensor, shape: torch.Size, order: torch.memory_format, *windows: Tensor) -> Tensor:
        ctx.save_for_backward(*windows)
        windows, (number, channels, height, width) = Windows(*windows), shape
        places, weights = (values.flatten() for values in windows.listed(height, width))
        order_of_cells = places.argsort(stable=True)
        counts = torch.bincount(places, minlength=number * height * width)
        bags, starts = order_of_cells // windows.cells, counts.cumsum(0) - counts
        sums = sums.reshape(-1, channels).contiguous()
        cells = F.embedding_bag(bags, sums, starts, mode='sum', per_sample_weights=weights[order_of_cells])
        maps = torch.empty(shape, dtype=sums.dtype, device=sums.device, memory_format=order)
        into = maps.flatten(2).transpose(1, 2).split(_TURNED_AT_A_TIME, dim=1)
        for some, those in zip(into, cells.view(number, -1, channels).split(_TURNED_AT_A_TIME, dim=1), strict=True):
            some.copy_(those)
        return maps

    @staticmethod
    def backward(ctx, grad: Tensor) -> tuple[Tensor | None, ...]:
        return _Sums.apply(grad, *ctx.saved_tensors), None, None, None, None, None, None
