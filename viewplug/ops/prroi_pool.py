"""Precise RoI Pooling from products of matrices or sums over windows: exact, differentiable, no kernel of its own."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from .bin_weights import bin_weights, small_windows
from .precision import at_least_float32
from .window_sums import window_sums

# Cells of a map up to which each bin gets a weight for every cell; beyond, rows and columns are summed in turn.
_DENSE_CELLS = 32 * 32
# A cell for one bin in this second way, in times of a cell in a product with all of them, on one core.
_TURNS_COST = 4
# Elements of the intermediate result that one part of the RoIs may have in the second way.
_PART_ELEMENTS = 2**24


def prroi_pool(
    features: Tensor, boxes: Tensor, output_size: int | Sequence[int] = 1, spatial_scale: float = 1.0
) -> Tensor:
    r"""The mean of the bilinearly interpolated features over each bin of each box (Jiang et al., *Acquisition of
    Localization Confidence for Accurate Object Detection*, ECCV 2018, sec. 3.3, eq. 6).

    .. math:: \frac{1}{(x_1-x_0)(y_1-y_0)} \int_{y_0}^{y_1}\!\int_{x_0}^{x_1} \sum_{ij} f_{ij}\,
        \max(0, 1-|y-i|)\,\max(0, 1-|x-j|)\,dx\,dy

    The integral factors into one over x and one over y, each a small vector of weights per bin, so that pooling is a
    product of matrices. As in the paper a feature sits at the whole number of its row and column (no half-pixel
    shift), features outside the map are 0, and a bin without area is 0 (as is one with a coordinate that is not
    finite), without gradient.

    Args:
        features: (N, C, H, W) of any floating type; sums are taken in float32 (float64 for float64).
        boxes: (N, K, 4) x0, y0, x1, y1 for each image, or (M, 5) with the image's number in front, as mmcv has them.
        output_size: bins down and across (h, w), or one number for both.
        spatial_scale: features per unit of the boxes' coordinates, such as 1 / stride.

    Returns:
        (N, K, C, h, w), or (M, C, h, w), of the features' type. Differentiable in ``features`` and ``boxes``.

    Raises:
        ValueError: shapes that are not these, an ``output_size`` below 1.
    """
    size = (output_size, output_size) if isinstance(output_size, int) else tuple(output_size)
    if len(size) != 2 or not all(isinstance(side, int) and side > 0 for side in size):
        raise ValueError(f'prroi_pool: output_size must be one positive number or two, got {output_size!r}')
    if features.ndim != 4:
        raise ValueError(f'prroi_pool: features must be (N, C, H, W), got {tuple(features.shape)}')
    if boxes.ndim == 2 and boxes.shape[1] == 5:
        return _of_rows(features, boxes, size, spatial_scale)
    if boxes.ndim != 3 or boxes.shape[2] != 4 or len(boxes) != len(features):
        raise ValueError(
            f'prroi_pool: boxes must be ({len(features)}, K, 4), one list for each image, or (M, 5), '
            f'got {tuple(boxes.shape)}'
        )
    with torch.autocast(features.device.type, enabled=False):
        maps = at_least_float32(features)
        spans = boxes.to(maps.dtype) * spatial_scale
        sides = spans[..., 1::2], spans[..., 0::2]
        dense = maps.shape[2] * maps.shape[3] <= _DENSE_CELLS
        windows = small_windows(sides, size, maps, 1 if dense else _TURNS_COST)
        if windows is not None:
            return window_sums(maps, windows).permute(0, 1, 4, 2, 3).to(features.dtype)
        if size[0] == size[1] and maps.shape[2] == maps.shape[3]:
            down, across = bin_weights(torch.stack(sides), size[0], maps.shape[2])
        else:
            down, across = (bin_weights(*one) for one in zip(sides, size, maps.shape[2:], strict=True))
        pooled = _contract(maps, down, across)
    return pooled.to(features.dtype)


def prroi_pool_grid(features: Tensor, columns: Tensor, rows: Tensor, spatial_scale: float = 1.0) -> Tensor:
    """:func:`prroi_pool` to one bin for boxes that are all pairs of a row and a column, as a grid of windows is and
    stays in another view: two products with as many weights as there are rows and columns, not boxes.

    Args:
        features: (N, C, H, W).
        columns: (N, X, 2) x0 and x1 of each column of boxes.
        rows: (N, Y, 2) y0 and y1 of each row of boxes.
        spatial_scale: see :func:`prroi_pool`.

    Returns:
        (N, C, Y, X), of the features' type. Differentiable in all three.
    """
    with torch.autocast(features.device.type, enabled=False):
        maps = at_least_float32(features)
        down = bin_weights(rows.to(maps.dtype) * spatial_scale, 1, maps.shape[2]).squeeze(2)
        across = bin_weights(columns.to(maps.dtype) * spatial_scale, 1, maps.shape[3]).squeeze(2)
        n, channels, height, width = maps.shape
        # Rows in front, so that both are a few large products in place of one small one for each channel.
        low = down @ maps.transpose(1, 2).reshape(n, height, channels * width)
        pooled = low.view(n, down.shape[1] * channels, width) @ across.transpose(1, 2)
        pooled = pooled.view(n, down.shape[1], channels, across.shape[1]).transpose(1, 2)
    return pooled.to(features.dtype)


class PrRoIPool(nn.Module):
    """:func:`prroi_pool` as a module, arguments as mmcv's ``PrRoIPool``."""

    def __init__(self, output_size: int | Sequence[int], spatial_scale: float = 1.0) -> None:
        super().__init__()
        self.output_size, self.spatial_scale = output_size, spatial_scale

    def forward(self, features: Tensor, boxes: Tensor) -> Tensor:
        return prroi_pool(features, boxes, self.output_size, self.spatial_scale)

    def extra_repr(self) -> str:
        return f'output_size={self.output_size}, spatial_scale={self.spatial_scale}'


def _contract(maps: Tensor, down: Tensor, across: Tensor) -> Tensor:
    """maps (N, C, H, W), down (N, K, h, H), across (N, K, w, W) -> (N, K, C, h, w)."""
    n, channels, height, width = maps.shape
    k, bins = down.shape[1], (down.shape[2], across.shape[2])
    if height * width <= _DENSE_CELLS:
        weights = down[:, :, :, None, :, None] * across[:, :, None, :, None, :]
        weights = weights.reshape(n, k * bins[0] * bins[1], height * width)
        return _WeightedSums.apply(maps.flatten(2), weights).view(n, k, *bins, channels).permute(0, 1, 4, 2, 3)
    part = max(1, _PART_ELEMENTS // (maps[..., 0].numel() * bins[1]))
    if part >= k:
        return _rows_of_columns(maps, down, across)
    parts = zip(down.split(part, dim=1), across.split(part, dim=1), strict=True)
    # What is between rows and columns would be kept for backward; it is cheaper to make it twice.
    return torch.cat([checkpoint(_rows_of_columns, maps, *two, use_reentrant=False) for two in parts], dim=1)


class _WeightedSums(torch.autograd.Function):
    """maps (N, C, L), weights (N, K, L) -> (N, K, C).

    A matrix product whose result has the longer side, channels, last, and whose gradient has the maps' order of memory:
    autograd would give one of them up.
    """

    @staticmethod
    def forward(ctx, maps: Tensor, weights: Tensor) -> Tensor:
        of_maps, of_weights = ctx.needs_input_grad
        ctx.save_for_backward(maps if of_weights else None, weights if of_maps else None)
        return weights @ maps.transpose(1, 2)

    @staticmethod
    def backward(ctx, grad: Tensor) -> tuple[Tensor | None, Tensor | None]:
        maps, weights = ctx.saved_tensors
        return None if weights is None else grad.transpose(1, 2) @ weights, None if maps is None else grad @ maps


def _rows_of_columns(maps: Tensor, down: Tensor, across: Tensor) -> Tensor:
    n, channels, height, width = maps.shape
    k, bins = down.shape[1], (down.shape[2], across.shape[2])
    columns = maps.reshape(n, channels * height, width) @ across.reshape(n, k * bins[1], width).transpose(1, 2)
    columns = (
        columns.view(n, channels, height, k, bins[1]).permute(0, 3, 2, 1, 4).reshape(n, k, height, channels * bins[1])
    )
    return (down @ columns).view(n, k, bins[0], channels, bins[1]).transpose(2, 3)


def _of_rows(features: Tensor, rows: Tensor, size: tuple[int, int], spatial_scale: float) -> Tensor:
    """(M, 5): the boxes of each image in one list, filled up with empty ones to the longest."""
    image = rows[:, 0].detach().long()
    if len(rows) and not (int(image.min()) >= 0 and int(image.max()) < len(features)):
        raise ValueError(
            f'prroi_pool: boxes are of images {int(image.min())} to {int(image.max())}, but there are {len(features)}'
        )
    order = torch.argsort(image, stable=True)
    counts = torch.bincount(image, minlength=len(features))
    first = counts.cumsum(0) - counts
    place = torch.empty_like(image)
    place[order] = torch.arange(len(rows), device=rows.device) - first[image[order]]
    longest = int(counts.max()) if len(rows) else 0
    boxes = rows.new_zeros(len(features), longest, 4).index_put((image, place), rows[:, 1:])
    return prroi_pool(features, boxes, size, spatial_scale)[image, place]
