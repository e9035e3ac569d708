"""Solarisation of whole batches."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from viewplug.devices import to_device

from .magnitude import Magnitude
from .operator import Operator, Params, check_prob


class Solarize(Operator):
    """mmpretrain's Solarize: values from a threshold on are inverted.

    Args:
        thr: the threshold in 0..255, if it is fixed.
        prob: chance that a sample is solarised.
        **magnitude: as for ``GaussianBlur``, if it is not.
    """

    def __init__(self, thr: float | None = None, prob: float = 0.5, **magnitude: Any) -> None:
        self.thr = Magnitude('Solarize: thr', thr, **magnitude)
        self.prob = check_prob('Solarize', prob)

    def draw(self, n: int, generator: torch.Generator | None = None) -> Params:
        return dict(thresholds=self.thr.draw(n, generator))

    def run(self, images: Tensor, thresholds: np.ndarray) -> Tensor:
        thresholds = to_device(thresholds, images.device)[:, None, None, None]
        return torch.where(images < thresholds, images, 255 - images)
