"""Heat maps of whole images, put together from those of the training views."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from mmengine.dist import all_reduce, get_world_size
from torch import Tensor

from viewplug.devices import to_device

CHUNK = 8192


class ViewHeatmaps:
    """The average heat map of each image over all views that were added: 8 bytes for each of its grid x grid cells.

    With the default of 14 x 14 cells that is 1.5 KB an image: 16 MB for 10,000 images, 2.0 GB for ImageNet-1K, where
    ``grid=7`` (0.5 GB) costs little, since a ResNet-50's own map is 7 x 7.

    Args:
        number: Of images.
        grid: Cells along each side.
        device: Where the sums are kept.
    """

    def __init__(self, number: int, grid: int = 14, device: torch.device | str = 'cpu') -> None:
        self.total = torch.zeros(number, grid, grid, device=device)
        self.weight = torch.zeros(number, grid, grid, device=device)

    @torch.no_grad()
    def add(self, indices: Tensor, heatmaps: Tensor, boxes: Tensor, flips: Tensor) -> None:
        """Add one view of each of N images.

        Maps are not normalised one by one, for a view of bare background would then weigh as much as one of the object;
        the mean over the batch is set to 1, so that what the weights do between two updates cancels out.

        Args:
            indices: (N,) int64, the images; one may come twice.
            heatmaps: (N, h, w) float32; a map that is not finite is left out.
            boxes: (N, 4), where the views were cut, fractions of the image.
            flips: (N,) bool, mirrored after cropping.
        """
        finite = heatmaps.isfinite().flatten(1).all(dim=1)
        heatmaps = torch.where(finite[:, None, None], heatmaps, 0)
        mean = heatmaps.abs().mean() * len(finite) / finite.sum().clamp_min(1)
        values, inside = paste(heatmaps / mean.clamp_min(1e-12), boxes, flips, self.total.shape[-1])
        inside &= finite[:, None, None]
        device = self.total.device
        indices = to_device(indices, device)
        self.total.index_add_(0, indices, (values * inside).to(device))
        self.weight.index_add_(0, indices, inside.to(device, self.weight.dtype))

    def merge(self) -> None:
        """Add up the sums of all processes."""
        if get_world_size() > 1:
            for start in range(0, len(self.total), CHUNK):
                for sums in (self.total, self.weight):
                    part = sums[start : start + CHUNK].clone()
                    all_reduce(part)
                    sums[start : start + CHUNK] = part

    def means(self, rows: slice | Tensor = slice(None)) -> tuple[Tensor, Tensor]:
        """
        Returns:
            (N, grid, grid) average maps, a cell that no view has covered taking the mean of its neighbours (crops reach
            the corners of an image seldom); (N,) bool, whether the image was seen at all.
        """
        total, weight = self.total[rows], self.weight[rows]
        return _filled(total / weight.clamp_min(1), weight > 0), weight.flatten(1).any(dim=1)

    def reset(self) -> None:
        self.total.zero_()
        self.weight.zero_()


def _filled(maps: Tensor, known: Tensor) -> Tensor:
    """Unknown cells of (N, grid, grid) from the 3 x 3 around them, outwards, ring after ring."""
    for _ in range(maps.shape[-1]):
        number = F.avg_pool2d(known.float(), 3, stride=1, padding=1)
        around = F.avg_pool2d(maps * known, 3, stride=1, padding=1) / number.clamp_min(1e-6)
        maps, known = torch.where(known, maps, around), known | (number > 0)
    return maps


def paste(heatmaps: Tensor, boxes: Tensor, flips: Tensor, grid: int) -> tuple[Tensor, Tensor]:
    """Views' heat maps in the frame of their images, flips undone.

    Args:
        heatmaps, boxes, flips: As for :meth:`ViewHeatmaps.add`.

    Returns:
        (N, grid, grid): the map at the centre of each cell, bilinear; and bool, whether the view shows that point.
    """
    centres = (torch.arange(grid, device=heatmaps.device) + 0.5) / grid
    boxes = boxes.to(heatmaps)
    size = (boxes[:, 2:] - boxes[:, :2]).clamp_min(1e-6)
    x = (centres - boxes[:, :1]) / size[:, :1]  # fractions of the view
    y = (centres - boxes[:, 1:2]) / size[:, 1:]
    inside = ((y >= 0) & (y < 1))[:, :, None] & ((x >= 0) & (x < 1))[:, None, :]
    x = torch.where(flips.to(x.device)[:, None], 1 - x, x)
    points = torch.stack([x[:, None, :].expand(-1, grid, -1), y[:, :, None].expand(-1, -1, grid)], dim=-1)
    values = F.grid_sample(heatmaps[:, None], points * 2 - 1, padding_mode='border', align_corners=False)[:, 0]
    return values, inside
