"""One kind of view: a pipeline in the per-sample vocabulary, run on whole batches."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from viewplug.devices import to_device
from viewplug.transforms.view_record import UnrecordedMove, moves_of

from .crop import RandomFlip
from .operator import (
    Operator,
    Params,
    draw_gated,
    first_sort_key,
    joined,
    prepare_gated,
    put_rows,
    run_gated,
    select,
)
from .padding import Group
from .steps import build_crop, build_operator

# Elements of a block of views that a CPU works on at a time: with its copies it stays in the cache of a core.
_BLOCK_ELEMENTS = 260_000
# Elements of the images that become float32 at a time on any device: large photographs would fill it.
_BLOCK_INPUT = 2**28


class View:
    """Cut and augment a batch, every sample with random parameters of its own.

    Images are BGR where channels matter (``ColorJitter``), as everywhere in an OpenMMLab pipeline.

    Args:
        pipeline: transform configs as for a single image, named bare or with ``mmpretrain.`` or ``viewplug.``: first
            one of ``steps.CROPS``, then any of ``steps.OPERATORS``.

    Attributes:
        unknown: which step moves pixels so that boxes and flips do not tell where to, and why; else None.

    Raises:
        ValueError: a step or an argument that is not known here.
    """

    def __init__(self, pipeline: Sequence[Mapping[str, Any]]) -> None:
        self.crop = build_crop(pipeline[0] if len(pipeline) else None)
        self.steps: list[Operator] = [build_operator(step) for step in pipeline[1:]]
        places = [place for place, step in enumerate(self.steps) if isinstance(step, RandomFlip)]
        if len(places) > 1:
            raise ValueError(f'a view cut in batch has one RandomFlip at most, got {len(places)}')
        if not places:  # for the flips that views share
            places = [len(self.steps)]
            self.steps.append(RandomFlip(prob=0.0))
        self._flip_place = places[0]
        self.unknown = _unrecorded(self.steps)
        # Mirroring is free while resampling; it may move there past everything that does not care.
        self._flip_early = all(step.mirrors for step in self.steps[: self._flip_place])

    def __call__(
        self,
        batch: Tensor,
        sizes: Tensor | None = None,
        generator: torch.Generator | None = None,
        sample_idx: Tensor | None = None,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """
        Args:
            batch: (N, 3, H, W) uint8, or float in [0, 255], on any device.
            sizes: (N, 2) int64 on the CPU, height and width of each image where the batch is padded at the bottom and
                right.
            generator: of the CPU; the only source of random numbers.
            sample_idx: (N,) int64 on the CPU, which images these are; ContrastiveCrop finds their boxes by it.

        Returns:
            images (N, 3, h, w) float32 in [0, 255], contiguous; boxes (N, 4) float32 x0, y0, x1, y1 as fractions of the
            image without its padding; flips (N,) bool. All on the batch's device.
        """
        made = self.many(1, batch, sizes, generator, sample_idx)
        return tuple(values[0] for values in made)

    def many(
        self,
        count: int,
        batch: Tensor | Sequence[Group],
        sizes: Tensor | None = None,
        generator: torch.Generator | None = None,
        sample_idx: Tensor | None = None,
        mirrored: np.ndarray | None = None,
        finish: Callable[[Tensor], Tensor] = lambda images: images,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """``count`` views of every image at once, which is faster than one after the other and gives the same.

        Args:
            count: V, how many.
            batch: as in the call, or the groups that its images are padded in, with ``sizes`` of the whole batch.
            sizes, generator, sample_idx: see the call.
            mirrored: (N,) bool on the CPU, images whose views are all mirrored (once more).
            finish: a last step on blocks (n, 3, h, w) of views, whose memory it may overwrite.

        Returns:
            images (V, N, 3, h, w), boxes (V, N, 4), flips (V, N).
        """
        if isinstance(batch, Tensor):
            sizes = _check_sizes(batch, sizes)
            batch = [Group(np.arange(len(batch)), batch)]
        else:
            for members, pixels in batch:
                _check_sizes(pixels, sizes[members])
        n, device = len(sizes), batch[0].pixels.device
        drawn = [self._draw(sizes, generator, sample_idx) for _ in range(count)]
        boxes = torch.cat([boxes for boxes, _ in drawn])
        params = joined([params for _, params in drawn])
        own = params[self._flip_place]
        if mirrored is not None:
            own['flips'] = own['flips'] ^ np.tile(np.asarray(mirrored), count)
        # A data preprocessor is called inside autocast; half precision has fewer than 256 steps.
        with torch.no_grad(), torch.autocast(device.type, enabled=False):
            images = self._make_groups(batch, count, boxes, own['flips'], params, finish)
        fractions = boxes.numpy() / np.tile(sizes.numpy()[:, [1, 0, 1, 0]], (count, 1))
        boxes, flips = (to_device(values, device) for values in (fractions.astype(np.float32), own['flips']))
        return tuple(values.view(count, n, *values.shape[1:]) for values in (images, boxes, flips))

    def _draw(self, sizes: Tensor, generator: torch.Generator | None, sample_idx: Tensor | None):
        boxes = self.crop.boxes(sizes, generator, sample_idx)
        return boxes, [draw_gated(step, len(sizes), generator) for step in self.steps]

    def _make_groups(self, groups: Sequence[Group], count: int, boxes: Tensor, flips: np.ndarray, params, finish):
        """Views (M, 3, h, w), ``count`` times those of the images in their order in the batch."""
        if len(groups) == 1:
            pixels = groups[0].pixels
            return self._make(pixels, np.tile(np.arange(len(pixels)), count), boxes, flips, params, finish)
        images = torch.empty(len(boxes), 3, *self.crop.resample.size, device=groups[0].pixels.device)
        for members, pixels in groups:
            rows = np.arange(len(boxes)).reshape(count, -1)[:, members].ravel()
            source = np.tile(np.arange(len(members)), count)
            made = self._make(pixels, source, boxes[rows], flips[rows], select(params, rows), finish)
            put_rows(images, rows, made)
        return images

    def _make(
        self,
        batch: Tensor,
        source: np.ndarray,
        boxes: Tensor,
        flips: np.ndarray,
        params: list[Params],
        finish: Callable[[Tensor], Tensor],
    ) -> Tensor:
        """Views (M, 3, h, w), the m-th of image ``source[m]``."""
        total, device = len(boxes), batch.device
        prepared = [prepare_gated(*pair) for pair in zip(self.steps, params, strict=True)]
        key = first_sort_key(self.steps, prepared)
        rank = np.arange(total) if key is None else np.argsort(key, kind='stable')
        prepared = select(prepared, rank)
        resample = self.crop.resample
        cuts = resample.prepare(batch, boxes[torch.from_numpy(rank)], flips[rank] if self._flip_early else None)
        images = torch.empty(total, 3, *resample.size, device=device)
        blocks = max(1, round(images.numel() / _BLOCK_ELEMENTS)) if device.type == 'cpu' else 1
        blocks = max(blocks, math.ceil(max(batch[:1].numel() * total, images.numel()) / _BLOCK_INPUT))
        block = max(1, math.ceil(total / blocks))
        for start in range(0, total, block):
            part = slice(start, start + block)
            made = batch.index_select(0, to_device(source[rank[part]], device))
            made = resample.run(made, **select(cuts, part))
            for place, step in enumerate(self.steps):
                if place != self._flip_place or not self._flip_early:
                    made = run_gated(step, made, select(prepared[place], part))
            put_rows(images, rank[part], finish(made))
        return images


def _unrecorded(steps: Sequence[Operator]) -> str | None:
    for step in steps:
        try:
            moves_of(step)
        except UnrecordedMove as move:
            return str(move)
    return None


def _check_sizes(batch: Tensor, sizes: Tensor | None) -> Tensor:
    if batch.ndim != 4 or batch.shape[1] != 3:
        raise ValueError(f'views are cut from images (N, 3, H, W), got shape {tuple(batch.shape)}')
    if batch.dtype != torch.uint8 and not batch.is_floating_point():
        raise ValueError(f'views are cut from uint8 or float images, got {batch.dtype}')
    whole = torch.tensor(batch.shape[2:])
    if sizes is None:
        return whole.expand(len(batch), 2)
    if tuple(sizes.shape) != (len(batch), 2) or (sizes < 1).any() or (sizes > whole).any():
        raise ValueError(
            f'sizes must hold height and width within {tuple(whole.tolist())} for each of the {len(batch)} images, '
            f'got {sizes.tolist()}'
        )
    return sizes
