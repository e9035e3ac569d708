"""How a view starts: which box is cut from each image and what it is resized to."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from viewplug.crop_sampling import check_ranges
from viewplug.devices import to_device

from .crop_boxes import random_resized_crop_boxes
from .operator import Operator, Params, check_prob, put_rows, uniform
from .resample import CropResize
from .taps import INTERPOLATIONS

BACKENDS = ('pillow', 'cv2')


class Resize:
    """mmcv's Resize of the whole image, its aspect ratio not kept.

    Args:
        scale: width and height of the result, in this order, or one number for both.
        interpolation: 'bilinear' or 'bicubic'.
        backend: 'pillow' (antialiased) or 'cv2' (not).

    Attributes:
        resample: cuts the boxes out.
    """

    def __init__(self, scale: int | Sequence[int], interpolation: str = 'bilinear', backend: str = 'cv2') -> None:
        self.resample = _resample('Resize', _pair('Resize', scale)[::-1], interpolation, backend)

    def boxes(
        self, sizes: Tensor, generator: torch.Generator | None = None, sample_idx: Tensor | None = None
    ) -> Tensor:
        """Which box to cut: sizes (N, 2) height and width -> (N, 4) int64 x0, y0, x1, y1 in whole pixels."""
        return torch.cat([torch.zeros_like(sizes), sizes.flip(1)], dim=1)


class RandomResizedCrop(Resize):
    """mmpretrain's RandomResizedCrop, same arguments and defaults.

    Args:
        scale: height and width of the result, in this order, or one number for both.
        crop_ratio_range, aspect_ratio_range, max_attempts: see ``random_resized_crop_boxes``.
        interpolation, backend: see ``Resize``.
    """

    def __init__(
        self,
        scale: int | Sequence[int],
        crop_ratio_range: tuple[float, float] = (0.08, 1.0),
        aspect_ratio_range: tuple[float, float] = (3 / 4, 4 / 3),
        max_attempts: int = 10,
        interpolation: str = 'bilinear',
        backend: str = 'cv2',
    ) -> None:
        self.resample = _resample('RandomResizedCrop', _pair('RandomResizedCrop', scale), interpolation, backend)
        check_ranges(crop_ratio_range, aspect_ratio_range, max_attempts)
        self.crop_ratio_range = tuple(crop_ratio_range)
        self.aspect_ratio_range = tuple(aspect_ratio_range)
        self.max_attempts = max_attempts

    def boxes(
        self, sizes: Tensor, generator: torch.Generator | None = None, sample_idx: Tensor | None = None
    ) -> Tensor:
        return random_resized_crop_boxes(
            sizes, self.crop_ratio_range, self.aspect_ratio_range, generator, self.max_attempts
        )


class RandomFlip(Operator):
    """mmcv's RandomFlip, left to right.

    Args:
        prob: chance that a sample is mirrored.
    """

    geometry = 'recorded'

    def __init__(self, prob: float, direction: str = 'horizontal') -> None:
        if direction != 'horizontal':
            raise ValueError(
                f"RandomFlip: only direction='horizontal' is supported, got {direction!r}; "
                'the geometry of views knows no other'
            )
        self.flip_prob = check_prob('RandomFlip', prob)

    def draw(self, n: int, generator: torch.Generator | None = None) -> Params:
        return dict(flips=uniform(n, generator) < self.flip_prob)

    def run(self, images: Tensor, flips: np.ndarray) -> Tensor:
        index = np.flatnonzero(flips)
        return put_rows(images, index, images.index_select(0, to_device(index, images.device)).flip(-1))


def _pair(name: str, scale: int | Sequence[int]) -> tuple[int, int]:
    pair = (scale, scale) if isinstance(scale, int) else tuple(scale) if isinstance(scale, Sequence) else ()
    if len(pair) != 2 or not all(isinstance(side, int) and side > 0 for side in pair):
        raise ValueError(f'{name}: scale must be one positive number or two, got {scale!r}')
    return pair


def _resample(name: str, size: tuple[int, int], interpolation: str, backend: str) -> CropResize:
    for key, value, choices in (('interpolation', interpolation, INTERPOLATIONS), ('backend', backend, BACKENDS)):
        if value not in choices:
            raise ValueError(f'{name}: {key} of views cut in batch must be one of {", ".join(choices)}, got {value!r}')
    return CropResize(size, interpolation, antialias=backend == 'pillow')
