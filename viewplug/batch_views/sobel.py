"""Sobel filtering of whole batches."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from .operator import Operator, check_prob


class Sobel(Operator):
    """The length of the gradient that Sobel's kernels find, in each channel (SimCLR, arXiv:2002.05709, fig. 4).

    Divided by 4, so that an edge from 0 to 255 gives 255; more is cut off. Border pixels go on beyond the border.

    Args:
        prob: chance that a sample is filtered.
    """

    def __init__(self, prob: float = 0.5) -> None:
        self.prob = check_prob('Sobel', prob)

    def run(self, images: Tensor) -> Tensor:
        padded = F.pad(images, (1, 1, 1, 1), mode='replicate')
        smooth = padded[:, :, :-2] + 2 * padded[:, :, 1:-1] + padded[:, :, 2:]
        across = smooth[..., 2:] - smooth[..., :-2]
        smooth = padded[..., :-2] + 2 * padded[..., 1:-1] + padded[..., 2:]
        down = smooth[:, :, 2:] - smooth[:, :, :-2]
        return torch.hypot(across, down).div_(4).clamp_max_(255)
