"""What the cells of a map weigh in the means of their bilinear interpolant over the bins of boxes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from .window_sums import Windows, windows_cost

# Cells of all windows that are listed at most, each with 30 bytes for some moments.
_MOST_LISTED = 2**23
# What the weight of a cell for a bin takes to make, in multiply-adds of a matrix product.
_WEIGHED = 20
_is_compiling = getattr(torch.compiler, 'is_compiling', bool)  # torch 2.1 has none


def bin_weights(spans: Tensor, bins: int, length: int) -> Tensor:
    """What each of ``length`` points in a row contributes to the mean of their linear interpolant over each bin.

    The integral of the hat function max(0, 1 - \\|x\\|) from 0 is x - x \\|x\\| / 2 on [-1, 1] and constant beyond.

    Args:
        spans: (..., 2) start and end; cut into ``bins`` equal parts.

    Returns:
        (..., bins, length); sums to 1 along the points where a bin lies within [0, length - 1].
    """
    edges, density = _edges(spans, bins)
    return _integrals(edges, length).diff(dim=-2) * density.unsqueeze(-1)


def small_windows(sides: Sequence[Tensor], size: Sequence[int], maps: Tensor, cell_cost: float) -> Windows | None:
    """The weights of the cells that bins reach, where reading these takes less time than a product with all cells.

    On a CPU and without gradient for the boxes; elsewhere None.

    Args:
        sides: spans down and across, (N, K, 2) each.
        size: bins down and across.
        maps: (N, C, H, W).
        cell_cost: what a cell takes for one bin in the product with all cells, in times of a dense matrix product.
    """
    spans = sides[0]
    if maps.device.type != 'cpu' or spans.requires_grad or not spans.numel() or not maps.numel() or _is_traced(maps):
        return None
    bins = spans[..., 0].numel() * size[0] * size[1]
    products = bins * maps[0, 0].numel() * (maps.shape[1] + _WEIGHED) * cell_cost
    if windows_cost(bins, maps) >= products:  # of one cell each
        return None
    found = [_reached(*one) for one in zip(sides, size, maps.shape[2:], strict=True)]
    listed = bins * found[0].reach * found[1].reach
    if listed > _MOST_LISTED or windows_cost(listed, maps) >= products:
        return None
    return Windows(*(one.first.int() for one in found), *(one.weights() for one in found))


def _is_traced(maps: Tensor) -> bool:
    """Whether what is computed becomes a graph for other boxes too, where their sizes must not decide."""
    return _is_compiling() or torch.jit.is_tracing() or type(maps) is not Tensor


class _Reached(NamedTuple):
    """Bins along a side: where they begin and end, 1 / width, the first cell that each reaches, how many at most."""

    start: Tensor
    end: Tensor
    density: Tensor
    first: Tensor
    reach: int

    def weights(self) -> Tensor:
        """:func:`bin_weights` from the first cell on: (..., bins, reach)."""
        ends = torch.stack([self.start, self.end], dim=-1) - self.first.unsqueeze(-1)
        return _integrals(ends, self.reach).diff(dim=-2).squeeze(-2) * self.density.unsqueeze(-1)


def _reached(spans: Tensor, bins: int, length: int) -> _Reached:
    edges, density = _edges(spans, bins)
    start, end = edges[..., :-1], edges[..., 1:]
    first = start.floor()
    reach = int((end.ceil() - first).max().clamp(max=length - 1)) + 1
    return _Reached(start, end, density, first.clamp(0, length - reach), reach)


def _edges(spans: Tensor, bins: int) -> tuple[Tensor, Tensor]:
    """spans (..., 2) -> edges of the bins (..., bins + 1), and 1 / width of a bin (..., 1), 0 without area."""
    extent = spans[..., 1:] - spans[..., :1]
    usable = (extent > 0) & extent.isfinite()
    # Others become 0 to 1, made on the device: moving them there would wait for it.
    spans = torch.where(usable, spans, torch.arange(2, device=spans.device, dtype=spans.dtype))
    start, step = spans[..., :1], (spans[..., 1:] - spans[..., :1]) / bins
    return start + step * torch.arange(bins + 1, device=spans.device, dtype=spans.dtype), usable / step


def _integrals(edges: Tensor, length: int) -> Tensor:
    """Of each point's hat function up to each edge: (...) -> (..., length)."""
    away = (edges.unsqueeze(-1) - torch.arange(length, device=edges.device, dtype=edges.dtype)).clamp(-1, 1)
    return torch.addcmul(away, away, away.abs(), value=-0.5)
