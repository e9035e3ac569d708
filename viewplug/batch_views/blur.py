"""Gaussian blur of whole batches, as wide for each sample as it is told."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor

from viewplug.devices import to_device

from .magnitude import Magnitude
from .operator import Operator, Params, check_prob

# Rows or columns that are worked out together: few more than the kernel is wide, so that little is multiplied by zero.
_STRIP = 64


class GaussianBlur(Operator):
    """mmpretrain's GaussianBlur, with a true Gaussian where Pillow repeats box filters.

    Args:
        radius: the standard deviation in pixels (Pillow's word for it), if it is fixed.
        prob: chance that a sample is blurred.
        **magnitude: ``magnitude_range``, ``magnitude_level``, ``magnitude_std``, ``total_level`` of ``Magnitude``,
            if it is not.
    """

    def __init__(self, radius: float | None = None, prob: float = 0.5, **magnitude: Any) -> None:
        self.radius = Magnitude('GaussianBlur: radius', radius, **magnitude)
        self.radius.check_least(0)
        self.prob = check_prob('GaussianBlur', prob)

    def draw(self, n: int, generator: torch.Generator | None = None) -> Params:
        return dict(radii=self.radius.draw(n, generator))

    def run(self, images: Tensor, radii: np.ndarray) -> Tensor:
        return gaussian_blur(images, radii)


def gaussian_blur(images: Tensor, sigmas: np.ndarray | Tensor) -> Tensor:
    """Convolve each image with its own Gaussian, cut off at four deviations; border pixels go on beyond the border.

    Args:
        images: (N, C, h, w) float.
        sigmas: (N,) on the CPU, standard deviations in pixels.
    """
    n, channels, height, width = images.shape
    reach = math.ceil(4 * float(sigmas.max())) if n else 0
    kernels = _half_kernels(to_device(sigmas, images.device), max(height, width, reach + 1))
    across = _band_matrices(kernels, width).transpose(1, 2)
    flat = images.reshape(n, channels * height, width)
    strips = [
        torch.bmm(flat[:, :, low:high], across[:, low:high, start:stop])
        for start, stop, low, high in _strips(width, reach)
    ]
    images = torch.cat(strips, dim=2).view(images.shape) if len(strips) > 1 else strips[0].view(images.shape)
    down = (across if width == height else _band_matrices(kernels, height).transpose(1, 2)).transpose(1, 2).unsqueeze(1)
    strips = [
        torch.matmul(down[:, :, start:stop, low:high], images[:, :, low:high])
        for start, stop, low, high in _strips(height, reach)
    ]
    return torch.cat(strips, dim=2) if len(strips) > 1 else strips[0]


def _half_kernels(sigmas: Tensor, length: int) -> Tensor:
    """(N, length): weight of a pixel at distance 0, 1, ...; twice the sum without the first, plus the first, is 1."""
    distances = torch.arange(length, device=sigmas.device, dtype=torch.float32)
    sigmas = sigmas.float().clamp_min(1e-3)[:, None]
    kernels = torch.exp(-0.5 * (distances / sigmas) ** 2) * (distances <= 4 * sigmas)
    return kernels / (2 * kernels.sum(dim=1, keepdim=True) - kernels[:, :1])


def _band_matrices(kernels: Tensor, size: int) -> Tensor:
    """(N, size, size): row i holds the weights with which the pixels of a line make up pixel i."""
    places = torch.arange(size, device=kernels.device)
    bands = kernels[:, (places[:, None] - places).abs()]
    # Weights that reach beyond a border go to the border's pixel.
    beyond = kernels.flip(1).cumsum(1).flip(1)
    beyond = torch.cat([beyond[:, 1:], torch.zeros_like(beyond[:, :1])], dim=1)[:, :size]
    bands[:, :, 0] += beyond
    bands[:, :, -1] += beyond.flip(1)
    return bands


def _strips(size: int, reach: int) -> list[tuple[int, int, int, int]]:
    """Parts [start, stop) of a line and the pixels [low, high) that they depend on."""
    if size < 2 * _STRIP:
        return [(0, size, 0, size)]
    parts = [(start, min(start + _STRIP, size)) for start in range(0, size, _STRIP)]
    return [(start, stop, max(0, start - reach), min(size, stop + reach)) for start, stop in parts]
