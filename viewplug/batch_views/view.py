"""One kind of view: a pipeline in the per-sample vocabulary, run on whole batches."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from viewplug.devices import to_device
from viewplug.registry import class_name

from .blur import GaussianBlur
from .color import ColorJitter, RandomGrayscale
from .contrastive_crop import ContrastiveCrop
from .crop import RandomFlip, RandomResizedCrop, Resize
from .cutout import Cutout
from .magnitude import Magnitude
from .noise import GaussianNoise
from .operator import (
    Operator,
    Params,
    RandomApply,
    draw_gated,
    first_sort_key,
    joined,
    prepare_gated,
    put_rows,
    run_gated,
    select,
)
from .padding import Group
from .quarter_turn import QuarterTurn
from .rotate import Rotate
from .sobel import Sobel
from .solarize import Solarize

CROPS = dict(RandomResizedCrop=RandomResizedCrop, ContrastiveCrop=ContrastiveCrop, Resize=Resize)
OPERATORS = dict(
    RandomFlip=RandomFlip,
    RandomApply=RandomApply,
    ColorJitter=ColorJitter,
    RandomGrayscale=RandomGrayscale,
    GaussianBlur=GaussianBlur,
    Solarize=Solarize,
    Rotate=Rotate,
    QuarterTurn=QuarterTurn,
    Cutout=Cutout,
    GaussianNoise=GaussianNoise,
    Sobel=Sobel,
)

# Elements of a block of views that a CPU works on at a time: with its copies it stays in the cache of a core.
_BLOCK_ELEMENTS = 260_000
# Elements of the images that become float32 at a time on any device: large photographs would fill it.
_BLOCK_INPUT = 2**28


class View:
    """Cut and augment a batch, every sample with random parameters of its own.

    Images are BGR where channels matter (``ColorJitter``), as everywhere in an OpenMMLab pipeline.

    Args:
        pipeline: transform configs as for a single image, named bare or with ``mmpretrain.`` or ``viewplug.``: first
            one of ``CROPS``, then any of ``OPERATORS``.

    Raises:
        ValueError: a step or an argument that is not known here.
    """

    def __init__(self, pipeline: Sequence[Mapping[str, Any]]) -> None:
        name = _name(pipeline[0]) if len(pipeline) else None
        if name not in CROPS:
            raise ValueError(f'a view cut in batch starts with one of {", ".join(CROPS)}, got {name}')
        self.crop = _build(CROPS, pipeline[0])
        self.steps: list[Operator] = [build_operator(step) for step in pipeline[1:]]
        places = [place for place, step in enumerate(self.steps) if isinstance(step, RandomFlip)]
        if len(places) > 1:
            raise ValueError(f'a view cut in batch has one RandomFlip at most, got {len(places)}')
        if not places:  # for the flips that views share
            places = [len(self.steps)]
            self.steps.append(RandomFlip(prob=0.0))
        self._flip_place = places[0]
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


def build_operator(cfg: Mapping[str, Any]) -> Operator:
    """An operator from its config; those inside a RandomApply too.

    Raises:
        ValueError: a step or an argument that is not known here.
    """
    if _name(cfg) != 'RandomApply':
        return _build(OPERATORS, cfg)
    inner = cfg.get('transforms', [])
    inner = [build_operator(step) for step in ([inner] if isinstance(inner, Mapping) else inner)]
    if any(isinstance(step, RandomFlip) for step in inner):
        raise ValueError('RandomApply: a RandomFlip inside would not be recorded; set the prob of RandomFlip instead')
    return _build(OPERATORS, {**cfg, 'transforms': inner})


def _build(known: Mapping[str, type], cfg: Mapping[str, Any]) -> Any:
    name = _name(cfg)
    if name not in known:
        raise ValueError(f'{name} is not among the steps of views cut in batch: {", ".join(known)}')
    arguments = {key: value for key, value in cfg.items() if key not in ('type', '_scope_')}
    accepted = _arguments(known[name])
    unknown = [key for key in arguments if key not in accepted]
    if unknown:
        raise ValueError(
            f'{name}: {", ".join(unknown)} not supported in views cut in batch, only {", ".join(accepted)}'
        )
    try:
        return known[name](**arguments)
    except TypeError as error:
        raise ValueError(f'{name}: {error}; it takes {", ".join(accepted)}') from None


def _arguments(kind: type) -> list[str]:
    """What a step takes; ``**magnitude`` stands for the arguments of ``Magnitude``."""
    accepted = list(inspect.signature(kind).parameters)
    if 'magnitude' in accepted:
        own = ('name', 'fixed')
        accepted.remove('magnitude')
        accepted += [key for key in inspect.signature(Magnitude).parameters if key not in own]
    return accepted


def _name(cfg: Mapping[str, Any]) -> str:
    if not isinstance(cfg, Mapping) or 'type' not in cfg:
        raise ValueError(f'a step of a view cut in batch is a dict with a type, got {cfg!r}')
    return class_name(cfg['type'])


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
