"""Rotation of whole batches."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from viewplug.devices import to_device

from .magnitude import Magnitude
from .operator import Operator, Params, channel_values, check_prob, uniform


class Rotate(Operator):
    """mmpretrain's Rotate about the centre of the view.

    Boxes and flips of a view say nothing of its rotation, so the views' geometry is unknown.

    Args:
        angle: degrees, clockwise, if it is fixed.
        scale: of the rotated image.
        pad_val: what is seen beyond the border: three numbers, or one for all channels (with which mmpretrain, through
            OpenCV, fills the first channel and leaves the others 0).
        prob: chance that a sample is rotated.
        random_negative_prob: chance that the angle is turned round.
        interpolation: 'nearest' or 'bilinear'.
        **magnitude: as for ``GaussianBlur``, if the angle is not fixed.
    """

    mirrors = False

    def __init__(
        self,
        angle: float | None = None,
        scale: float = 1.0,
        pad_val: float | Sequence[float] = 128,
        prob: float = 0.5,
        random_negative_prob: float = 0.5,
        interpolation: str = 'nearest',
        **magnitude: Any,
    ) -> None:
        if interpolation not in ('nearest', 'bilinear'):
            raise ValueError(f"Rotate: interpolation must be 'nearest' or 'bilinear', got {interpolation!r}")
        self.angle = Magnitude('Rotate: angle', angle, **magnitude)
        self.scale = scale
        self.pad = channel_values('Rotate', pad_val)
        self.prob = check_prob('Rotate', prob)
        self.negative_prob = random_negative_prob
        self.interpolation = interpolation

    def draw(self, n: int, generator: torch.Generator | None = None) -> Params:
        angles = self.angle.draw(n, generator)
        return dict(angles=np.where(uniform(n, generator) < self.negative_prob, -angles, angles))

    def run(self, images: Tensor, angles: np.ndarray) -> Tensor:
        height, width = images.shape[2:]
        radians = torch.deg2rad(to_device(angles, images.device))[:, None, None]
        cosine, sine = torch.cos(radians) / self.scale, torch.sin(radians) / self.scale
        x = torch.arange(width, device=images.device) - (width - 1) / 2
        y = (torch.arange(height, device=images.device) - (height - 1) / 2)[:, None]
        # Where each pixel comes from, in grid_sample's units: half the width or height to either side of the centre.
        grid = torch.stack([(cosine * x + sine * y) * (2 / width), (cosine * y - sine * x) * (2 / height)], dim=-1)
        pad = to_device(self.pad, images.device)
        # Outside it finds zeros.
        return F.grid_sample(images - pad, grid, mode=self.interpolation, align_corners=False).add_(pad)
