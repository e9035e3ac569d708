"""torchvision's ``adjust_hue`` and ``adjust_contrast`` of Pillow images, to the last bit, in less time.

Pillow takes hues pixel by pixel, with branches that the colours decide, which on photographs is slow. Here the same
numbers come out of tables and of operations on whole images.
"""

from __future__ import annotations

import functools
from typing import NamedTuple

import cv2
import numpy as np
from PIL import Image
from torchvision.transforms import functional

SMALLEST = 48 * 48
"""Pixels from which on the tables take less time than Pillow."""


def adjust_hue(image: Image.Image, factor: float) -> Image.Image:
    """``torchvision.transforms.functional.adjust_hue`` of an RGB image; ``factor`` is in turns, from -0.5 to 0.5."""
    if image.width * image.height < SMALLEST or not -0.5 <= factor <= 0.5:
        return functional.adjust_hue(image, factor)
    return Image.fromarray(turn_hue(np.asarray(image), int(factor * 255) % 256))


def adjust_contrast(image: Image.Image, factor: float) -> Image.Image:
    """``torchvision.transforms.functional.adjust_contrast`` of an RGB image: away from its mean grey, or towards it."""
    counts = image.convert('L').histogram()
    grey = int(np.dot(counts, np.arange(256)) / (image.width * image.height) + 0.5)
    return Image.blend(Image.new('RGB', image.size, (grey, grey, grey)), image, factor)


def turn_hue(rgb: np.ndarray, steps: int) -> np.ndarray:
    """RGB to Pillow's HSV, whose hue goes from 0 to 255, ``steps`` added to it modulo 256, and back.

    Args:
        rgb: (H, W, 3) uint8.
    """
    tables = _tables()
    shape = rgb.shape[:2]
    red, green, blue = (plane.ravel() for plane in cv2.split(rgb))
    low, high = np.minimum(red, green), np.maximum(red, green)
    value, least = np.maximum(high, blue), np.minimum(low, blue)
    middle = np.maximum(low, np.minimum(high, blue))

    is_red = red == value  # of equal channels the first counts as the largest
    is_blue = ~(is_red | (green == value))
    swapped = ((blue != least) & ~is_blue) | ((red != least) & is_blue)
    sector = 2 * ((~is_red).view(np.uint8) + is_blue.view(np.uint8)) + swapped.view(np.uint8)

    span = (value - least).astype(np.uint16) << 8
    hue = tables.hue.take((sector.astype(np.uint32) << 16) | span | (value - middle)) + np.uint8(steps)
    saturation = tables.saturation.take(span | value)
    lowest = tables.lowest.take((value.astype(np.uint16) << 8) | saturation)
    between = tables.between.take((hue.astype(np.uint16) << 8) | saturation)
    between = (between * value + np.float32(0.5)).astype(np.uint8)

    sector = cv2.LUT(hue.reshape(shape), tables.sector).ravel()
    at = [-(sector == number).view(np.uint8) for number in range(6)]  # 255 in this sector, 0 elsewhere
    planes = [
        (value & (at[one] | at[two])) | (between & (at[three] | at[four])) | (lowest & (at[five] | at[six]))
        for one, two, three, four, five, six in _CHANNELS
    ]
    return cv2.merge([plane.reshape(shape) for plane in planes])


_CHANNELS = ((0, 5, 1, 4, 2, 3), (1, 2, 0, 3, 4, 5), (3, 4, 2, 5, 0, 1))
"""Of red, green, blue: the two sectors in which it is the largest channel, the one between, the least."""


class _Tables(NamedTuple):
    """All flat. ``hue``: by sector (red, green, blue the largest; then which of the others is the least), span (the
    largest channel less the least) and the largest less the one between. ``saturation``: by span and value, the largest
    channel. ``lowest``: the least channel, by value and saturation. ``between``: the share of the value that the third
    channel has, float32, by hue and saturation. ``sector``: by hue."""

    hue: np.ndarray
    saturation: np.ndarray
    lowest: np.ndarray
    between: np.ndarray
    sector: np.ndarray


@functools.cache
def _tables() -> _Tables:
    """Pillow's arithmetic, which mixes float32 and float64, for everything that a table can hold."""
    bytes32 = np.arange(256, dtype=np.float32)
    bytes64 = bytes32.astype(np.float64)
    with np.errstate(divide='ignore', invalid='ignore'):  # greys, set to 0 below
        share = (bytes32 / bytes32[:, None]).astype(np.float64)
    share = np.where(np.isfinite(share), share, 0.0)  # (denominator, numerator)
    # In sixths of a turn; the least channel's distance from the largest is the whole span, a share of 1.
    sixths = np.stack([1 - share, share - 1, 1 + share, 3 - share, 3 + share, 5 - share]).astype(np.float32)
    turns = np.fmod(sixths / np.float64(6) + 1, 1).astype(np.float32)
    hue = (turns.astype(np.float64) * 255).astype(np.uint8)
    hue[:, 0] = 0
    saturation = np.clip(share.T * 255, 0, 255).astype(np.uint8)

    place = bytes64 * 6 / 255
    sector = np.floor(place).astype(np.uint8)
    rest = (place - sector).astype(np.float32)[:, None]
    strength = (bytes64 / 255).astype(np.float32)
    falling = 1 - (strength * rest).astype(np.float64)
    rising = 1 - strength * (1 - rest.astype(np.float64))
    between = np.where(sector[:, None] % 2 == 1, falling, rising).astype(np.float32)
    lowest = np.floor(bytes64[:, None] * (1 - strength.astype(np.float64)) + 0.5).astype(np.uint8)
    return _Tables(hue.ravel(), saturation.ravel(), lowest.ravel(), between.ravel(), sector % 6)
