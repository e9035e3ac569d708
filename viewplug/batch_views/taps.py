"""Which source pixels make up each pixel of a resized line, and with what weights."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from viewplug.devices import to_device

INTERPOLATIONS = ('bilinear', 'bicubic')


def resampling_taps(
    spans: Tensor,
    in_size: int,
    out_size: int,
    flips: Tensor,
    interpolation: str = 'bilinear',
    antialias: bool = True,
    device: torch.device | str = 'cpu',
) -> tuple[Tensor, Tensor]:
    """The filter that resizes [start, end) of a line to out_size pixels.

    With ``antialias`` it grows with the reduction and is cut off and normalised at start and end, as in Pillow's
    ``resize`` of the part; without, it is OpenCV's: two (bilinear) or four (bicubic) pixels, the border pixel repeated.

    Args:
        spans: (N, 2) int64 on the CPU, start and end in source pixels; pixel i covers [i, i + 1).
        in_size: length of the lines.
        flips: (N,) bool on the CPU, where the out_size pixels run from end to start.

    Returns:
        Source pixels (N, T, out_size) int64, different ones along T, and their weights, float32, which sum to 1 along T
        and are zero outside [start, end).
    """
    support, kernel = (1, _triangle) if interpolation == 'bilinear' else (2, _cubic)
    # Catmull-Rom's -0.5 is Pillow's, -0.75 OpenCV's.
    sharpness = -0.5 if antialias else -0.75
    widest = max(1.0, float((spans[:, 1] - spans[:, 0]).max()) / out_size) if antialias and len(spans) else 1.0
    taps = min(in_size, math.ceil(2 * support * widest) + 1)
    spans = to_device(spans, device).float()
    starts, ends = spans[:, :1], spans[:, 1:]
    step = (ends - starts) / out_size
    stretch = step.clamp_min(1.0) if antialias else torch.ones_like(step)
    places = torch.arange(0.5, out_size, device=device) * step + (starts - 0.5)
    places = torch.where(to_device(flips, device)[:, None], (starts + ends - 1) - places, places)
    first = (places - support * stretch).ceil_().clamp_(0, in_size - taps)
    sources = first[:, None, :] + torch.arange(taps, device=device)[:, None]
    places, starts, ends, stretch = (values[:, None, :] for values in (places, starts, ends, stretch))
    weights = kernel((sources - places).div_(stretch), sharpness)
    weights.mul_(sources >= starts).mul_(sources < ends)
    if not antialias:
        # What falls off the crop is given to its border pixel.
        for beyond in range(1, support + 1):
            weights += (sources == starts) * kernel(starts - beyond - places, sharpness)
            weights += (sources == ends - 1) * kernel(ends - 1 + beyond - places, sharpness)
    return sources.long(), weights.div_(weights.sum(dim=1, keepdim=True))


def resampling_matrices(sources: Tensor, weights: Tensor, in_size: int) -> Tensor:
    """The same as matrices to multiply lines with: (N, in_size, out_size)."""
    return weights.new_zeros(len(weights), in_size, weights.shape[2]).scatter_(1, sources, weights)


def _triangle(distances: Tensor, _: float) -> Tensor:
    """Minus the triangle, which is one pass shorter and the same once the weights are normalised."""
    return distances.abs_().sub_(1).clamp_max_(0)


def _cubic(distances: Tensor, a: float) -> Tensor:
    """Keys' cubic (1981): one polynomial up to distance 1, another up to 2; each is 0 where the other begins."""
    distances = distances.abs()
    near, far = distances.clamp_max(1), distances.clamp(1, 2)
    return ((a + 2) * near - (a + 3)) * near * near + 1 + a * (((far - 5) * far + 8) * far - 4)
