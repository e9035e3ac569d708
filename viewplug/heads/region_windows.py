"""Windows slid over one view, and the same regions in another view, as rows and columns."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torchvision.ops import roi_align

from viewplug.ops import at_least_float32, prroi_pool_grid
from viewplug.views import ViewGeometry

# Of a view's side: 0.02 pixels at 224. Rounding must not cost a window that ends where the view ends.
_TOLERANCE = 1e-4


@dataclass(frozen=True)
class WindowGrid:
    """Square windows on square views (ReSim, sec. 3.4), and how they are read off a feature map.

    Attributes:
        window, stride: side of a window and step between windows, pixels of the view.
        downsample: pixels per position of the map.
        input_size: side of the view, pixels.
        pool: 'prroi' (Precise RoI Pooling) or 'roi_align' (sec. 4.1's comparison).
        aligned: whether a position of the map stands in the middle of its cell of ``downsample`` pixels, or (as Precise
            RoI Pooling has it) at the cell's first corner.
    """

    window: int
    stride: int
    downsample: int
    input_size: int
    pool: str = 'prroi'
    aligned: bool = True

    def __post_init__(self) -> None:
        if self.pool not in ('prroi', 'roi_align'):
            raise ValueError(f"RegionHead: pool must be 'prroi' or 'roi_align', got {self.pool!r}")
        if min(self.window, self.stride, self.downsample) < 1 or self.window > self.input_size:
            raise ValueError(
                f'RegionHead: window={self.window}, stride={self.stride} and downsample={self.downsample} must be '
                f'above 0, and a window no larger than input_size={self.input_size}'
            )

    @property
    def map_size(self) -> int:
        """Positions along a side of the map."""
        return math.ceil(self.input_size / self.downsample)

    @property
    def count(self) -> int:
        """Windows along a side of the view, G."""
        return (self.input_size - self.window) // self.stride + 1

    def spans(self, like: Tensor) -> Tensor:
        """(G, 2) start and end of the windows along either side, fractions of the view."""
        start = torch.arange(self.count, device=like.device, dtype=like.dtype) * self.stride
        return torch.stack([start, start + self.window], dim=1) / self.input_size

    def match(self, geometry: ViewGeometry, query: int, key: int) -> tuple[Tensor, Tensor, Tensor]:
        """Where view ``key`` sees the windows of view ``query``, whether the views were flipped or not.

        Scaling, shifting and mirroring take a grid of windows to a grid, so columns and rows are mapped instead of
        boxes. A window counts if it lies wholly in the overlap of both views (sec. 3.3).

        Returns:
            columns (N, G, 2) and rows (N, G, 2), fractions of view ``key``, without extent where no window of that
            column or row can count; and (N, G, G) bool, whether the window of row y and column x counts.
        """
        spans = self.spans(geometry.boxes)
        diagonal = spans.repeat_interleave(2, dim=1).expand(len(geometry.boxes), -1, -1)
        mapped = geometry.map_regions(diagonal, query, key)
        inside = (mapped >= -_TOLERANCE) & (mapped <= 1 + _TOLERANCE)
        sides, seen = zip(*((mapped[..., axis::2], inside[..., axis::2].all(dim=-1)) for axis in (0, 1)), strict=True)
        columns, rows = (side.where(ok.unsqueeze(-1), side.new_zeros(())) for side, ok in zip(sides, seen, strict=True))
        return columns, rows, seen[1].unsqueeze(2) & seen[0].unsqueeze(1)

    def pooled(self, maps: Tensor, columns: Tensor, rows: Tensor) -> Tensor:
        """Maps (N, C, H, W), windows as fractions of their views -> one vector a window, (N, Y, X, C)."""
        scale = self.input_size / self.downsample
        if self.pool == 'roi_align':
            boxes = boxes_of_grid(columns, rows).flatten(1, 2).to(maps.dtype)
            found = roi_align(maps, list(boxes), 1, scale, sampling_ratio=-1, aligned=self.aligned)
            return found.view(len(maps), rows.shape[1], columns.shape[1], maps.shape[1])
        shift = 0.5 if self.aligned else 0.0
        return prroi_pool_grid(maps, columns * scale - shift, rows * scale - shift).permute(0, 2, 3, 1)


def boxes_of_grid(columns: Tensor, rows: Tensor) -> Tensor:
    """Columns (N, X, 2) and rows (N, Y, 2) -> (N, Y, X, 4) boxes x0, y0, x1, y1."""
    shape = (len(columns), rows.shape[1], columns.shape[1], 2)
    pairs = torch.stack([columns.unsqueeze(1).expand(shape), rows.unsqueeze(2).expand(shape)], dim=-1)
    return pairs.flatten(3)


def maps_of_tokens(tokens: Tensor, grids: Sequence[WindowGrid], level: int, channels: int | None = None) -> Tensor:
    """One level of what ``viewplug.RegionNeck`` gives, (N, P, D) -> (N, C, H, W), float32 or wider.

    Raises:
        ValueError: P is not the number of positions that ``grids`` have together.
    """
    sizes = [grid.map_size for grid in grids]
    expected = sum(size**2 for size in sizes)
    if tokens.ndim != 3 or tokens.shape[1] != expected:
        raise ValueError(
            f'RegionHead: input_size={grids[0].input_size} and downsample={[grid.downsample for grid in grids]} mean '
            f'{" and ".join(f"{size} x {size}" for size in sizes)} positions, (N, {expected}, D), got '
            f'{tuple(tokens.shape)}; set input_size to the side of the views, and downsample to the strides of the '
            "neck's stages; where views have several sides (multi-crop), set the branch's online_views to those of one"
        )
    first, size = sum(size**2 for size in sizes[:level]), sizes[level]
    own = at_least_float32(tokens[:, first : first + size**2, :channels])
    return own.transpose(1, 2).unflatten(2, (size, size))
