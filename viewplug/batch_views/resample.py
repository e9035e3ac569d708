"""Crop, resize and mirror whole batches: one separable resampling with weights of its own for every sample."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from .operator import to_device

INTERPOLATIONS = ('bilinear', 'bicubic')

# From here on, cutting one after the other with torch's vectorised uint8 kernel is faster on a CPU than dense matrices
# (one core, MoCo v2 crops, microseconds an image: 64 pixels 91 and 82, 96 pixels 131 and 206, 224 pixels 540 and 1600).
_LOOP_FROM_PIXELS = 80 * 80


def crop_resize(
    batch: Tensor,
    boxes: Tensor,
    size: tuple[int, int],
    flips: Tensor | None = None,
    interpolation: str = 'bilinear',
    antialias: bool = True,
) -> Tensor:
    """Cut a box out of every image, resize it, mirror it where asked.

    With ``antialias`` the filter grows with the reduction and is cut off and normalised at the crop's border, as in
    Pillow's ``resize`` of the cropped image; without, it is OpenCV's: two (bilinear) or four (bicubic) pixels per side
    and the border pixel repeated.

    Args:
        batch: (N, C, H, W) uint8 or float.
        boxes: (N, 4) int64 x0, y0, x1, y1 in whole pixels, on the CPU.
        size: height h and width w of the result.
        flips: (N,) bool on the CPU, which results to mirror left to right.
        interpolation: 'bilinear' or 'bicubic'.

    Returns:
        (N, C, h, w) float32. Values are not rounded, except where a CPU cuts large uint8 images one by one.
    """
    if (
        antialias
        and batch.device.type == 'cpu'
        and batch.dtype == torch.uint8
        and size[0] * size[1] >= _LOOP_FROM_PIXELS
    ):
        return _one_by_one(batch, boxes, size, flips, interpolation)
    (height, width), n, channels = batch.shape[2:], *batch.shape[:2]
    columns, rows = _both_weights(boxes, (height, width), size, flips, interpolation, antialias, batch.device)
    # With the channels between rows and columns both products are plain matrices.
    images = batch.transpose(1, 2).to(torch.float32, memory_format=torch.contiguous_format).contiguous()
    # Which product comes first is a matter of cost only.
    if height * size[1] * (width + size[0]) <= width * size[0] * (height + size[1]):
        images = torch.bmm(images.view(n, height * channels, width), columns)
        images = torch.bmm(rows.transpose(1, 2), images.view(n, height, channels * size[1]))
    else:
        images = torch.bmm(rows.transpose(1, 2), images.view(n, height, channels * width))
        images = torch.bmm(images.view(n, size[0] * channels, width), columns)
    images = images.view(n, size[0], channels, size[1]).transpose(1, 2).contiguous()
    return images.clamp_(0, 255) if interpolation == 'bicubic' else images


def resampling_weights(
    spans: Tensor,
    in_size: int,
    out_size: int,
    interpolation: str = 'bilinear',
    antialias: bool = True,
    flips: Tensor | None = None,
    device: torch.device | str = 'cpu',
) -> Tensor:
    """Weights of the in_size source pixels in each of the out_size pixels that [start, end) is resized to.

    Args:
        spans: (N, 2) int64 on the CPU, start and end in source pixels; pixel i covers [i, i + 1).
        flips: (N,) bool on the CPU, where the out_size pixels run from end to start.

    Returns:
        (N, in_size, out_size) float32, zero outside [start, end), columns sum to 1.
    """
    support, kernel = (1, _triangle) if interpolation == 'bilinear' else (2, _cubic)
    # Catmull-Rom's -0.5 is Pillow's, -0.75 OpenCV's.
    sharpness = -0.5 if antialias else -0.75
    widest = max(1.0, float((spans[:, 1] - spans[:, 0]).max()) / out_size) if antialias and len(spans) else 1.0
    # Few source pixels matter to each result: work on these alone, then write them into the matrix.
    taps = min(in_size, math.ceil(2 * support * widest) + 1)
    spans = to_device(spans, device).float()
    starts, ends = spans[:, :1], spans[:, 1:]
    step = (ends - starts) / out_size
    stretch = step.clamp_min(1.0) if antialias else torch.ones_like(step)
    places = torch.arange(0.5, out_size, device=device) * step + (starts - 0.5)
    if flips is not None:
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
    weights.div_(weights.sum(dim=1, keepdim=True))
    return torch.zeros(len(spans), in_size, out_size, device=device).scatter_(1, sources.long(), weights)


def _both_weights(
    boxes: Tensor,
    in_size: tuple[int, int],
    out_size: tuple[int, int],
    flips: Tensor | None,
    interpolation: str,
    antialias: bool,
    device: torch.device,
) -> tuple[Tensor, Tensor]:
    """For columns and rows; in one go where both have the same sizes."""
    flips = torch.zeros(len(boxes), dtype=torch.bool) if flips is None else flips
    spans = torch.stack([boxes[:, 0::2], boxes[:, 1::2]])
    flips = torch.stack([flips, torch.zeros_like(flips)])
    if in_size[0] == in_size[1] and out_size[0] == out_size[1]:
        weights = resampling_weights(
            spans.flatten(0, 1), in_size[0], out_size[0], interpolation, antialias, flips.flatten(), device
        )
        return weights[: len(boxes)], weights[len(boxes) :]
    columns = resampling_weights(spans[0], in_size[1], out_size[1], interpolation, antialias, flips[0], device)
    return columns, resampling_weights(spans[1], in_size[0], out_size[0], interpolation, antialias, None, device)


def _one_by_one(
    batch: Tensor, boxes: Tensor, size: tuple[int, int], flips: Tensor | None, interpolation: str
) -> Tensor:
    images = torch.empty(len(batch), batch.shape[1], *size)
    flips = [False] * len(batch) if flips is None else flips.tolist()
    for index, ((x0, y0, x1, y1), flip) in enumerate(zip(boxes.tolist(), flips, strict=True)):
        crop = batch[index : index + 1, :, y0:y1, x0:x1]
        # The fast kernel wants the channels last, and only the crop has to be turned.
        crop = crop.contiguous(memory_format=torch.channels_last)
        crop = F.interpolate(crop, size=size, mode=interpolation, antialias=True)
        images[index] = crop[0].flip(-1) if flip else crop[0]
    return images


def _triangle(distances: Tensor, _: float) -> Tensor:
    """Minus the triangle, which is one pass shorter and the same once the weights are normalised."""
    return distances.abs_().sub_(1).clamp_max_(0)


def _cubic(distances: Tensor, a: float) -> Tensor:
    """Keys' cubic (1981): one polynomial up to distance 1, another up to 2; each is 0 where the other begins."""
    distances = distances.abs()
    near, far = distances.clamp_max(1), distances.clamp(1, 2)
    return ((a + 2) * near - (a + 3)) * near * near + 1 + a * (((far - 5) * far + 8) * far - 4)
