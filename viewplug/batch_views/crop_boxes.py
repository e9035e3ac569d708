"""Where RandomResizedCrop cuts, for many images at once."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor


def random_resized_crop_boxes(
    sizes: Tensor,
    crop_ratio_range: tuple[float, float] = (0.08, 1.0),
    aspect_ratio_range: tuple[float, float] = (3 / 4, 4 / 3),
    generator: torch.Generator | None = None,
    max_attempts: int = 10,
) -> Tensor:
    """Boxes with the distribution of torchvision's and mmpretrain's RandomResizedCrop ("Inception crop").

    A try draws the share of the area uniformly and the aspect ratio log-uniformly, and is kept if the box fits in the
    image; its place is then uniform over all whole pixels. All tries of all images are drawn at once and the first
    that fits is taken. Where none fits, the box is the largest central one of an allowed aspect ratio.

    Args:
        sizes: (N, 2) int64 on the CPU, height and width of each image.
        crop_ratio_range: smallest and largest share of the image's area.
        aspect_ratio_range: smallest and largest width / height.
        generator: of the CPU.
        max_attempts: tries before the central box is taken.

    Returns:
        (N, 4) int64 x0, y0, x1, y1 in whole pixels, x1 and y1 exclusive.
    """
    n = len(sizes)
    draws = torch.rand(2 * max_attempts + 2, n, generator=generator, dtype=torch.float64).numpy()
    shares, ratios, places = np.split(draws, [max_attempts, 2 * max_attempts])
    # In NumPy, whose fixed cost for arrays of this size is a third of torch's.
    sizes = sizes.numpy().astype(np.float64)
    low, high = (math.log(ratio) for ratio in aspect_ratio_range)
    areas = (crop_ratio_range[0] + shares * (crop_ratio_range[1] - crop_ratio_range[0])) * sizes.prod(axis=1)
    roots = np.exp((low + ratios * (high - low)) / 2)
    areas = np.sqrt(areas)
    tries = np.rint(np.stack([areas / roots, areas * roots], axis=-1))
    candidates = np.concatenate([tries, _central_shapes(sizes, aspect_ratio_range)[None]])
    fits = ((candidates > 0) & (candidates <= sizes)).all(axis=-1)
    first = fits.argmax(axis=0)
    shapes = candidates[first, np.arange(n)]
    room = sizes - shapes
    corners = np.minimum(np.floor(places.T * (room + 1)), room)
    corners = np.where((first == max_attempts)[:, None], np.floor(room / 2), corners)
    boxes = np.concatenate([corners[:, ::-1], (corners + shapes)[:, ::-1]], axis=1)
    return torch.from_numpy(boxes.astype(np.int64))


def _central_shapes(sizes: np.ndarray, aspect_ratio_range: tuple[float, float]) -> np.ndarray:
    """(N, 2) height and width of the fallback: the whole image, cut to the nearest allowed aspect ratio."""
    heights, widths = sizes.T
    low, high = min(aspect_ratio_range), max(aspect_ratio_range)
    ratios = widths / heights
    cut_heights = np.where(ratios < low, np.rint(widths / low), heights)
    cut_widths = np.where(ratios > high, np.rint(heights * high), widths)
    return np.stack([cut_heights, cut_widths], axis=1)
