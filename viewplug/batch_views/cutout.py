"""Rectangles cut out of whole batches."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from viewplug.devices import to_device

from .magnitude import Magnitude
from .operator import Operator, Params, channel_values, check_prob


class Cutout(Operator):
    """mmpretrain's Cutout: a rectangle anywhere, cut off at the border, is filled with a constant.

    Args:
        shape: height and width in pixels, or one number for both, if they are fixed.
        pad_val: what it is filled with, one number or three.
        prob: chance that a sample is cut.
        **magnitude: as for ``GaussianBlur``, of a square's side, if it is not.
    """

    mirrors = False

    def __init__(
        self,
        shape: int | Sequence[int] | None = None,
        pad_val: float | Sequence[float] = 128,
        prob: float = 0.5,
        **magnitude: Any,
    ) -> None:
        height, width = shape if isinstance(shape, Sequence) else (shape, shape)
        self.height = Magnitude('Cutout: shape', height, **magnitude)
        # A side that is drawn is drawn once.
        self.width = None if width is None else Magnitude('Cutout: shape', width)
        self.pad = channel_values('Cutout', pad_val)
        self.prob = check_prob('Cutout', prob)

    def draw(self, n: int, generator: torch.Generator | None = None) -> Params:
        heights = self.height.draw(n, generator)
        widths = heights if self.width is None else self.width.draw(n, generator)
        shapes = np.trunc(np.stack([heights, widths], axis=1))
        return dict(shapes=shapes, centres=torch.rand(n, 2, generator=generator).numpy())

    def run(self, images: Tensor, shapes: np.ndarray, centres: np.ndarray) -> Tensor:
        """
        Args:
            images: (N, 3, h, w).
            shapes: (N, 2) height and width of the rectangle in pixels.
            centres: (N, 2) y and x of its centre as fractions of the view.
        """
        starts = np.trunc(np.maximum(centres * images.shape[2:] - shapes / 2, 0))
        starts, ends = to_device(starts, images.device), to_device(starts + shapes, images.device)
        rows, columns = (
            (place >= starts[:, axis, None]) & (place < ends[:, axis, None])
            for axis, place in enumerate(torch.arange(side, device=images.device) for side in images.shape[2:])
        )
        return torch.where(
            (rows[:, :, None] & columns[:, None, :]).unsqueeze(1), to_device(self.pad, images.device), images
        )
