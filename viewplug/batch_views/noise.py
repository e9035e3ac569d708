"""Gaussian noise on whole batches, the same on every device."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor

from viewplug.devices import to_device

from .magnitude import Magnitude
from .operator import Operator, Params, check_prob


class GaussianNoise(Operator):
    """Noise added to every channel of every pixel (SimCLR, arXiv:2002.05709, fig. 4).

    A sample draws one number on the CPU; its noise is worked out from that on the images' device.

    Args:
        std: standard deviation in 0..255, if it is fixed.
        prob: chance that a sample gets noise.
        **magnitude: as for ``GaussianBlur``, if it is not.
    """

    def __init__(self, std: float | None = None, prob: float = 0.5, **magnitude: Any) -> None:
        self.std = Magnitude('GaussianNoise: std', std, **magnitude)
        self.std.check_least(0)
        self.prob = check_prob('GaussianNoise', prob)

    def draw(self, n: int, generator: torch.Generator | None = None) -> Params:
        seeds = torch.randint(2**31, (n,), generator=generator).numpy()
        return dict(deviations=self.std.draw(n, generator), seeds=seeds)

    def run(self, images: Tensor, deviations: np.ndarray, seeds: np.ndarray) -> Tensor:
        noise = _normal(to_device(seeds, images.device), images[0].numel() if len(images) else 0).view(images.shape)
        noise.mul_(to_device(deviations, images.device)[:, None, None, None])
        return images.add_(noise).clamp_(0, 255)


def _normal(seeds: Tensor, number: int) -> Tensor:
    """(N, number) standard normal values: a hash of seed and place, through the inverse distribution function."""
    bits = _mix(_mix(seeds)[:, None] ^ torch.arange(number, device=seeds.device))
    # The middles of 2**24 equal parts of (-1, 1): float32 holds them, and erfinv is finite there.
    uniform = ((bits >> 8).to(torch.float32) + 0.5).mul_(2**-23).sub_(1).clamp_(-1 + 2**-24, 1 - 2**-24)
    return torch.erfinv(uniform).mul_(math.sqrt(2))


def _mix(bits: Tensor) -> Tensor:
    """A 32 bit hash: shifts and products by large odd numbers, in int64, where nothing overflows into the sign."""
    for shift, factor in ((16, 0x7FEB352D), (15, 0x46CA68B)):
        bits = ((bits ^ (bits >> shift)) * factor) & 0xFFFFFFFF
    return bits ^ (bits >> 16)
