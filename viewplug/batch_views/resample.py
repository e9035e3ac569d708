"""Crop, resize and mirror whole batches: one separable resampling with weights of its own for every sample."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from .operator import Params
from .taps import resampling_matrices, resampling_taps

# From here on a CPU is faster with torch's vectorised uint8 kernel, image after image, than with dense matrices (one
# core, microseconds an image, 32 from 48 pixels: 43 and 20; 64 from 96: 70 and 120; 224 from 256: 350 and 1200).
_LOOP_FROM_PIXELS = 56 * 56


class CropResize:
    """Cut a box out of every image, resize it, mirror it where asked.

    Like an ``Operator`` in two parts: ``prepare``, once for the whole batch, and ``run``, on all of it or a part.

    Args:
        size: height h and width w of the result.
        interpolation: 'bilinear' or 'bicubic'.
        antialias: as Pillow resizes, else as OpenCV; see ``resampling_taps``.
    """

    def __init__(self, size: tuple[int, int], interpolation: str = 'bilinear', antialias: bool = True) -> None:
        self.size = size
        self.interpolation = interpolation
        self.antialias = antialias

    def __call__(self, batch: Tensor, boxes: Tensor, flips: Tensor | None = None) -> Tensor:
        """
        Args:
            batch: (N, C, H, W) uint8 or float.
            boxes: (N, 4) int64 x0, y0, x1, y1 in whole pixels, on the CPU.
            flips: (N,) bool on the CPU, which results to mirror left to right.

        Returns:
            (N, C, h, w) float32. Values are not rounded, except where a CPU cuts large uint8 images one by one.
        """
        return self.run(batch, **self.prepare(batch, boxes, flips))

    def prepare(self, batch: Tensor, boxes: Tensor, flips: Tensor | None = None) -> Params:
        """What ``run`` takes beside the batch, or for parts of these beside parts of the batch."""
        flips = torch.zeros(len(boxes), dtype=torch.bool) if flips is None else torch.as_tensor(flips)
        large = self.size[0] * self.size[1] >= _LOOP_FROM_PIXELS
        if large and self.antialias and batch.device.type == 'cpu' and batch.dtype == torch.uint8:
            return dict(boxes=boxes, flips=flips)
        height, width = batch.shape[2:]
        settings = (self.interpolation, self.antialias, batch.device)
        if height == width and self.size[0] == self.size[1]:
            spans = torch.cat([boxes[:, 0::2], boxes[:, 1::2]])
            flips = torch.cat([flips, torch.zeros_like(flips)])
            both = resampling_taps(spans, height, self.size[0], flips, *settings)
            columns, rows = zip(*(values.tensor_split(2) for values in both), strict=True)
        else:
            columns = resampling_taps(boxes[:, 0::2], width, self.size[1], flips, *settings)
            rows = resampling_taps(boxes[:, 1::2], height, self.size[0], torch.zeros_like(flips), *settings)
        return dict(columns=list(columns), rows=list(rows))

    def run(self, batch: Tensor, **prepared: Any) -> Tensor:
        """(N, C, H, W) -> (N, C, h, w)."""
        if 'boxes' in prepared:
            return self._one_by_one(batch, **prepared)
        (n, channels, height, width), size = batch.shape, self.size
        columns = resampling_matrices(*prepared['columns'], width)
        rows = resampling_matrices(*prepared['rows'], height)
        rows = rows.unsqueeze(1).expand(n, channels, height, size[0]).reshape(-1, height, size[0]).transpose(1, 2)
        images = batch.to(torch.float32)
        # Which of the two products comes first is a matter of cost only.
        if height * size[1] * (width + size[0]) <= width * size[0] * (height + size[1]):
            images = torch.bmm(images.reshape(n, channels * height, width), columns)
            images = torch.bmm(rows, images.view(-1, height, size[1]))
        else:
            images = torch.bmm(rows, images.reshape(-1, height, width))
            images = torch.bmm(images.view(n, channels * size[0], width), columns)
        images = images.view(n, channels, *size)
        return images.clamp_(0, 255) if self.interpolation == 'bicubic' else images

    def _one_by_one(self, batch: Tensor, boxes: Tensor, flips: Tensor) -> Tensor:
        images = torch.empty(len(batch), batch.shape[1], *self.size)
        for index, ((x0, y0, x1, y1), flip) in enumerate(zip(boxes.tolist(), flips.tolist(), strict=True)):
            # The fast kernel wants the channels last, and only the crop has to be turned.
            crop = batch[index : index + 1, :, y0:y1, x0:x1].contiguous(memory_format=torch.channels_last)
            crop = F.interpolate(crop, size=self.size, mode=self.interpolation, antialias=True)
            images[index] = crop[0].flip(-1) if flip else crop[0]
        return images
