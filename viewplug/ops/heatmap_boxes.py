"""From a network's features to the box of what it looks at (ContrastiveCrop, sec. 3.2 and eq. 2)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

FLAT = 1e-6
BINS = 256


@dataclass
class HeatmapBoxes:
    """One box an image.

    Attributes:
        boxes: (N, 4) float32, x0, y0, x1, y1 as fractions of the image.
        dead: (N,) bool, the map had nothing to say (NaN, infinite, constant, nothing above the threshold): whole image.
    """

    boxes: Tensor
    dead: Tensor

    @property
    def whole(self) -> Tensor:
        """(N,) bool, the box is the whole image: the map is dead or reaches all four borders."""
        return (self.boxes == whole_image(self.boxes)).all(dim=1)

    def dead_where(self, lost: Tensor) -> HeatmapBoxes:
        """The same, but dead where ``lost`` (N,)."""
        return HeatmapBoxes(torch.where(lost[:, None], whole_image(self.boxes), self.boxes), self.dead | lost)


def localise(
    heatmaps: Tensor, size: tuple[int, int], threshold: float = 0.1, adaptive: float | str | None = None
) -> HeatmapBoxes:
    """``B = L(1[M > k])``: the rectangular closure of what is above the threshold in the normalised, up-sampled map.

    Args:
        heatmaps: (N, h, w), any scale, e.g. of :func:`channel_sum`.
        size: H, W to which the maps are up-sampled (bilinear), the network's input size.
        threshold: k, in [0, 1).
        adaptive: None; a number q in (0, 1), the q-quantile of the image's own normalised map in place of k; or
            'otsu', the level that separates the map best into two classes.

    Raises:
        ValueError: a threshold out of its range.
    """
    check_threshold(threshold, adaptive)
    maps, dead = normalise_heatmaps(heatmaps)
    level = thresholds(maps, threshold, adaptive)
    boxes, empty = closure(upsample_heatmaps(maps, size) > level[:, None, None])
    return HeatmapBoxes(boxes, empty).dead_where(dead | empty)


def whole_image(like: Tensor) -> Tensor:
    """(4,) the box 0, 0, 1, 1, made where ``like`` is, so that no device is waited for."""
    return (torch.arange(4, device=like.device) >= 2).to(like.dtype)


def channel_sum(features: Tensor) -> Tensor:
    """(N, C, h, w) -> (N, h, w) float32, the sum over channels."""
    return features.sum(dim=1, dtype=torch.float32)


def normalise_heatmaps(heatmaps: Tensor) -> tuple[Tensor, Tensor]:
    """Each map to [0, 1] by its own minimum and maximum.

    Returns:
        (N, h, w) float32, and (N,) bool: maps without contrast or with numbers that are not finite, which are all 0.
    """
    maps = heatmaps.float()
    finite = maps.isfinite().flatten(1).all(dim=1)
    maps = torch.where(finite[:, None, None], maps, 0)
    low, high = maps.amin(dim=(1, 2)), maps.amax(dim=(1, 2))
    # A constant map differs from itself by rounding, and min-max would stretch the rounding to a picture.
    dead = ~finite | (high - low <= FLAT * torch.maximum(low.abs(), high.abs()))
    scale = torch.where(dead, 0, 1 / (high - low))
    return torch.where(dead[:, None, None], 0, (maps - low[:, None, None]) * scale[:, None, None]), dead


def upsample_heatmaps(heatmaps: Tensor, size: tuple[int, int]) -> Tensor:
    """(N, h, w) -> (N, H, W), bilinear, pixels as areas (``align_corners=False``)."""
    return F.interpolate(heatmaps[:, None], size=tuple(size), mode='bilinear', align_corners=False)[:, 0]


def closure(masks: Tensor) -> tuple[Tensor, Tensor]:
    """The smallest rectangle around all set pixels, pixels as areas.

    Args:
        masks: (N, H, W) bool.

    Returns:
        (N, 4) float32 fractions x0, y0, x1, y1, the whole image where nothing is set; (N,) bool, nothing is set.
    """
    sides = []
    for dim in (1, 2):  # any row set: columns; any column set: rows
        line = masks.any(dim=dim).to(torch.uint8)
        length = line.shape[1]
        sides.append((line.argmax(dim=1) / length, (length - line.flip(1).argmax(dim=1)) / length))
    (x0, x1), (y0, y1) = sides
    return torch.stack([x0, y0, x1, y1], dim=1).float(), ~masks.flatten(1).any(dim=1)


def thresholds(maps: Tensor, threshold: float = 0.1, adaptive: float | str | None = None) -> Tensor:
    """The level of each normalised map (N, h, w): (N,); arguments as for :func:`localise`."""
    if adaptive is None:
        return maps.new_full((len(maps),), threshold)
    if adaptive == 'otsu':
        return otsu_thresholds(maps)
    return maps.flatten(1).quantile(adaptive, dim=1)


def otsu_thresholds(maps: Tensor) -> Tensor:
    """The level in each map (N, h, w) in [0, 1] that makes the variance between the two classes largest: (N,).

    Otsu, IEEE Trans. SMC 9(1), 1979, on 256 bins. Where a gap between the classes leaves several, the middle one.
    """
    bins = (maps.flatten(1) * BINS).long().clamp(max=BINS - 1)
    share = maps.new_zeros(len(maps), BINS).scatter_add_(1, bins, torch.ones_like(bins, dtype=maps.dtype))
    share = share / bins.shape[1]
    centres = (torch.arange(BINS, device=maps.device) + 0.5) / BINS
    weight, mean = share.cumsum(1), (share * centres).cumsum(1)
    spread = (mean[:, -1:] * weight - mean).square() / (weight * (1 - weight)).clamp_min(1e-12)
    first, last = spread.argmax(dim=1), BINS - 1 - spread.flip(1).argmax(dim=1)
    return ((first + last) / 2 + 1) / BINS


def check_threshold(threshold: float, adaptive: float | str | None) -> None:
    """
    Raises:
        ValueError: ``threshold`` is not in [0, 1), or ``adaptive`` is neither None, 'otsu' nor a number in (0, 1).
    """
    if isinstance(threshold, bool) or not isinstance(threshold, (int, float)) or not 0 <= threshold < 1:
        raise ValueError(f'threshold must lie in [0, 1), heat maps being normalised to [0, 1], got {threshold!r}')
    if adaptive is None or adaptive == 'otsu':
        return
    if isinstance(adaptive, bool) or not isinstance(adaptive, (int, float)) or not 0 < adaptive < 1:
        raise ValueError(
            f"adaptive_threshold must be None, 'otsu', or the quantile of each heat map to cut at, in (0, 1), "
            f'got {adaptive!r}'
        )
