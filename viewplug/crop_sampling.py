"""Where ContrastiveCrop cuts: sizes as RandomResizedCrop's, centres in a box and away from its middle. numpy only."""

import functools
import math
from collections.abc import Callable, Sequence

import numpy as np

Center = Callable[..., float]
"""Takes a random state (``np.random``, a RandomState or a Generator), returns a number in [0, 1]."""

Box = Sequence[float]
"""x0, y0, x1, y1 as fractions of the image: four numbers, an array or a tensor."""

WHOLE_IMAGE = (0.0, 0.0, 1.0, 1.0)


def sample_crop(
    height: int,
    width: int,
    box: Box | None = None,
    crop_ratio_range: tuple[float, float] = (0.2, 1.0),
    aspect_ratio_range: tuple[float, float] = (3 / 4, 4 / 3),
    alpha: float = 0.6,
    center: str | Center = 'beta',
    max_attempts: int = 10,
    rng=np.random,
) -> tuple[int, int, int, int]:
    """Draw one crop (ContrastiveCrop, algorithm 1), in pixels, always inside the image and at least one pixel.

    Area and aspect ratio are drawn as RandomResizedCrop draws them. The top edge is then drawn between
    ``lo = clamp(y0 * H - h / 2, 0, H - h)`` and ``hi = clamp(y1 * H - h / 2, 0, H - h)``, whole pixels, both ends
    included, and the left edge likewise. So the crop's centre lies in the box wherever the image leaves room for it.
    After ``max_attempts`` sizes larger than the image the crop is the central one of RandomResizedCrop, whatever the
    box. With ``alpha=1`` and no box this is RandomResizedCrop, with the random numbers of mmpretrain's.

    Args:
        height, width: Of the image, pixels.
        box: Where the centre may lie. None, or a box that holds NaN, is inverted or has no area inside the image,
            means the whole image; what sticks out is cut off.
        crop_ratio_range: Area of the crop as a fraction of the image's.
        aspect_ratio_range: Width over height of the crop.
        alpha: Of Beta(alpha, alpha), the distribution of the centre: below 1 it avoids the middle (sec. 3.3), 1 is
            uniform.
        center: See :func:`center_distribution`.
        rng: ``np.random``, a ``RandomState`` or a ``Generator``.

    Returns:
        top, left, height, width of the crop.

    Raises:
        ValueError: an image without pixels, a bad range, alpha or centre, or a box that is not four numbers.
    """
    if height < 1 or width < 1:
        raise ValueError(f'An image needs at least one pixel to crop, got {height} x {width}.')
    check_ranges(crop_ratio_range, aspect_ratio_range, max_attempts)
    draw = center_distribution(center, alpha)
    x0, y0, x1, y1 = usable_box(box)
    log_ratios = math.log(aspect_ratio_range[0]), math.log(aspect_ratio_range[1])
    for _ in range(max_attempts):
        area = rng.uniform(*crop_ratio_range) * (height * width)
        ratio = math.exp(rng.uniform(*log_ratios))
        crop_width, crop_height = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
        if 0 < crop_width <= width and 0 < crop_height <= height:
            top = _draw_edge(y0, y1, height, crop_height, draw, rng)
            left = _draw_edge(x0, x1, width, crop_width, draw, rng)
            return top, left, crop_height, crop_width
    return _central_crop(height, width, aspect_ratio_range)


def center_distribution(center: str | Center = 'beta', alpha: float = 0.6) -> Center:
    """The function that draws where in its range a crop's centre falls, 0 and 1 being the ends.

    Args:
        center: 'beta', Beta(alpha, alpha) of the paper; 'uniform', the same as ``alpha=1``; 'quadratic', density
            12 (u - 1/2)^2, the paper's other example (it gives no formula; the one that vanishes in the middle is our
            choice); or a function that takes a random state and returns a number in [0, 1].
        alpha: For 'beta' only.

    Raises:
        ValueError: an unknown name, or an alpha that is not a positive number.
    """
    if callable(center):
        return center
    if center == 'beta':
        if not 0 < alpha < math.inf:
            raise ValueError(f'alpha must be a positive number (1 is uniform, less avoids the middle), got {alpha}.')
        return uniform if alpha == 1 else functools.partial(beta, alpha)
    named = dict(uniform=uniform, quadratic=quadratic)
    if center not in named:
        raise ValueError(f"center must be 'beta', 'uniform', 'quadratic' or a function, got {center!r}.")
    return named[center]


def uniform(rng) -> float:
    return rng.random()


def beta(alpha: float, rng) -> float:
    return rng.beta(alpha, alpha)


def quadratic(rng) -> float:
    # Inverse of the distribution function 4 (u - 1/2)^3 + 1/2.
    return 0.5 + float(np.cbrt((rng.random() - 0.5) / 4))


def usable_box(box: Box | None) -> tuple[float, float, float, float]:
    """``box`` cut to the image, or the whole image where nothing of it is left (NaN, inverted, empty, outside)."""
    if box is None:
        return WHOLE_IMAGE
    corners = box.tolist() if hasattr(box, 'tolist') else box
    if len(corners) != 4:
        raise ValueError(f'box must be four fractions x0, y0, x1, y1 of the image, or None, got {box!r}.')
    x0, y0, x1, y1 = corners
    # Every comparison with NaN is false.
    if x0 < x1 and y0 < y1 and x0 < 1 and y0 < 1 and x1 > 0 and y1 > 0:
        return max(x0, 0.0), max(y0, 0.0), min(x1, 1.0), min(y1, 1.0)
    return WHOLE_IMAGE


def check_ranges(
    crop_ratio_range: tuple[float, float], aspect_ratio_range: tuple[float, float], max_attempts: int = 1
) -> None:
    """
    Raises:
        ValueError: crops that would be drawn never, or seldom: then the central crop silently stands in for them.
    """
    low, high = crop_ratio_range
    if not (0 <= low <= high and 0 < high <= 1):
        raise ValueError(
            f'crop_ratio_range must be (min, max) fractions of the area, within [0, 1], got {crop_ratio_range}.'
        )
    if max_attempts < 1:
        raise ValueError(f'max_attempts must be at least 1, or every crop is the central one, got {max_attempts}.')
    low, high = aspect_ratio_range
    if not 0 < low <= high < math.inf:
        raise ValueError(f'aspect_ratio_range must be (min, max) width over height, got {aspect_ratio_range}.')


def _draw_edge(start: float, stop: float, size: int, crop: int, draw: Center, rng) -> int:
    """First pixel of a crop of ``crop`` pixels whose centre should lie between the fractions ``start`` and ``stop``."""
    room = size - crop
    low = min(max(start * size - crop / 2, 0), room)
    high = min(max(stop * size - crop / 2, 0), room)
    first, last = math.ceil(low), math.floor(high)
    if first > last:  # a range that holds no whole pixel: the nearest one
        first = last = round((low + high) / 2)
    if draw is uniform:
        # An integer draw, as in RandomResizedCrop, so that the two can be compared crop by crop.
        return int((getattr(rng, 'integers', None) or rng.randint)(first, last + 1))
    position = draw(rng)
    if not 0 <= position <= 1:
        raise ValueError(f'center must draw from [0, 1], got {position}.')
    return min(first + int(position * (last - first + 1)), last)


def _central_crop(height: int, width: int, aspect_ratio_range: tuple[float, float]) -> tuple[int, int, int, int]:
    """The largest crop in the middle whose aspect ratio is in the range, as in RandomResizedCrop."""
    narrowest, widest = aspect_ratio_range
    if width / height < narrowest:
        crop_height, crop_width = round(width / narrowest), width
    elif width / height > widest:
        crop_height, crop_width = height, round(height * widest)
    else:
        crop_height, crop_width = height, width
    # A narrow strip of a one-pixel image rounds to nothing.
    crop_height, crop_width = max(crop_height, 1), max(crop_width, 1)
    return (height - crop_height) // 2, (width - crop_width) // 2, crop_height, crop_width
