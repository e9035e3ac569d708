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
    around: np.ndarray | None = None,
    places: np.ndarray | None = None,
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
        around: (N, 4) fractions x0, y0, x1, y1 of the images, in which the centres shall lie as far as there is room
            (ContrastiveCrop, see ``viewplug.crop_sampling``); None is the whole image.
        places: (2, N) in [0, 1], where vertically and horizontally in its range a box lies; None is uniform.

    Returns:
        (N, 4) int64 x0, y0, x1, y1 in whole pixels, x1 and y1 exclusive.
    """
    n = len(sizes)
    draws = torch.rand(2 * max_attempts + 2, n, generator=generator, dtype=torch.float64).numpy()
    shares, ratios, uniform = np.split(draws, [max_attempts, 2 * max_attempts])
    places = uniform if places is None else places
    # In NumPy, whose fixed cost for arrays of this size is a third of torch's; vertical and horizontal come first.
    sizes = sizes.numpy().T.astype(np.float64)
    shapes, left = np.empty_like(sizes), np.arange(n)
    if max_attempts:  # nearly every first try fits, so the others are worked out for few images
        tries, fits = _tries(shares[:1], ratios[:1], sizes, crop_ratio_range, aspect_ratio_range)
        shapes, left = tries[:, 0], np.flatnonzero(~fits[0])
    tries, fits = _tries(shares[1:, left], ratios[1:, left], sizes[:, left], crop_ratio_range, aspect_ratio_range)
    tries = np.concatenate([tries, _central_shapes(sizes[:, left], aspect_ratio_range)[:, None]], axis=1)
    first = np.concatenate([fits, np.ones((1, len(left)), dtype=bool)]).argmax(axis=0)
    shapes[:, left] = tries[:, first, np.arange(len(left))]
    central = left[first == len(fits)]
    room = sizes - shapes
    start, stop = (0, room) if around is None else _corner_range(around, sizes, shapes)
    corners = np.minimum(start + np.floor(places * (stop - start + 1)), stop)
    corners[:, central] = np.floor(room[:, central] / 2)
    boxes = np.concatenate([corners[::-1], (corners + shapes)[::-1]])
    return torch.from_numpy(np.ascontiguousarray(boxes.T, dtype=np.int64))


def _tries(
    shares: np.ndarray,
    ratios: np.ndarray,
    sizes: np.ndarray,
    crop_ratio_range: tuple[float, float],
    aspect_ratio_range: tuple[float, float],
) -> tuple[np.ndarray, np.ndarray]:
    """Height and width (2, T, N) from draws (T, N) in [0, 1) for area and aspect ratio; (T, N) whether they fit."""
    low, high = (math.log(ratio) for ratio in aspect_ratio_range)
    areas = (crop_ratio_range[0] + shares * (crop_ratio_range[1] - crop_ratio_range[0])) * (sizes[0] * sizes[1])
    roots = np.exp((low + ratios * (high - low)) / 2)
    areas = np.sqrt(areas)
    tries = np.rint(np.stack([areas / roots, areas * roots]))
    return tries, ((tries > 0) & (tries <= sizes[:, None])).all(axis=0)


def _corner_range(around: np.ndarray, sizes: np.ndarray, shapes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """First and last whole pixel (2, N) of the top and left edges whose boxes are centred in ``around`` (N, 4)."""
    x0, y0, x1, y1 = np.asarray(around, dtype=np.float64).T
    low, high = np.stack([y0, x0]), np.stack([y1, x1])
    with np.errstate(invalid='ignore'):
        usable = ((low < high) & (low < 1) & (high > 0)).all(axis=0)  # no comparison with NaN is true
    low, high = np.where(usable, low.clip(0, 1), 0), np.where(usable, high.clip(0, 1), 1)
    room = sizes - shapes
    low, high = ((edge * sizes - shapes / 2).clip(0, room) for edge in (low, high))
    start, stop = np.ceil(low), np.floor(high)
    nearest = np.rint((low + high) / 2)  # where the range holds no whole pixel
    return np.where(start > stop, nearest, start), np.where(start > stop, nearest, stop)


def _central_shapes(sizes: np.ndarray, aspect_ratio_range: tuple[float, float]) -> np.ndarray:
    """(2, N) height and width of the fallback: the whole image, cut to the nearest allowed aspect ratio it can have."""
    heights, widths = sizes
    low, high = min(aspect_ratio_range), max(aspect_ratio_range)
    ratios = widths / heights
    cut_heights = np.where(ratios < low, np.rint(widths / low), heights)
    cut_widths = np.where(ratios > high, np.rint(heights * high), widths)
    return np.stack([cut_heights, cut_widths]).clip(1)
