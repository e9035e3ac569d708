"""Where LocalizationHook's boxes come from: a forward of their own, or the training views."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial

import torch
from mmengine.dist import get_rank, get_world_size
from mmengine.optim import AmpOptimWrapper
from mmengine.runner.amp import autocast
from torch import Tensor
from torch.utils.data import DataLoader

from viewplug.devices import to_device
from viewplug.evaluation.features import share
from viewplug.evaluation.localization import LocalisedBatch, encoder_of, localise_batches
from viewplug.hooks.box_targets import BoxTargets
from viewplug.hooks.view_catcher import ViewCatcher, geometry_of
from viewplug.hooks.view_heatmaps import ViewHeatmaps
from viewplug.ops.heatmap_boxes import HeatmapBoxes, localise
from viewplug.unwrapping import unwrapped

PROGRESS_SECONDS = 30
VIEW_CHUNK = 256


@dataclass
class Reading:
    """How boxes are read off a runner's network; the fields are arguments of ``viewplug.LocalizationHook``."""

    size: tuple[int, int]
    threshold: float
    adaptive: float | str | None
    encoder: str
    heatmap: str

    def localise(self, runner, batches: Iterable[tuple[Tensor, Tensor]]) -> Iterator[LocalisedBatch]:
        """With the encoder and the number format of the run."""
        model, context = unwrapped(runner.model), nullcontext
        if isinstance(runner.optim_wrapper, AmpOptimWrapper):
            context = partial(autocast, dtype=runner.optim_wrapper.cast_dtype)
        backbone = encoder_of(model, self.encoder)
        return localise_batches(model, batches, self.threshold, self.adaptive, self.heatmap, backbone, context)


class ForwardBoxes:
    """One forward over all images, whole.

    Args:
        targets: The images.
        reading: How boxes are read.
        batch_size, num_workers: None takes the training loader's.
    """

    spent = 0.0
    """Seconds that training steps were held up."""

    def __init__(self, targets: BoxTargets, reading: Reading, batch_size: int | None, num_workers: int | None) -> None:
        self.targets, self.reading = targets, reading
        self.batch_size, self.num_workers = batch_size, num_workers

    def ready(self, on_time: bool) -> bool:
        """Whether to update now: on time, or as soon as possible where a resumed run has no boxes yet."""
        return on_time or not self.targets.written

    def rows(self, runner) -> Iterator[Tensor]:
        """(n, 6): box, dead, unreadable of this process's images, a batch at a time."""
        train = runner.train_dataloader
        workers = train.num_workers if self.num_workers is None else self.num_workers
        loader = share(
            DataLoader(
                self.targets.whole_images(self.reading.size),
                self.batch_size or train.batch_size or getattr(train.batch_sampler, 'batch_size', 64),
                num_workers=workers,
                pin_memory=train.pin_memory,
                multiprocessing_context=train.multiprocessing_context if workers else None,
            )
        )
        begin = said = time.time()
        for done, batch in enumerate(self.reading.localise(runner, loader), start=1):
            yield as_rows(batch.found, ~batch.readable)
            if time.time() - said > PROGRESS_SECONDS:
                said = time.time()
                left = (said - begin) / done * (len(loader) - done) / 60
                runner.logger.info(f'Localisation: {done / len(loader):.0%} of the images, {left:.1f} min left')

    def heatmaps(self, runner, images: Tensor) -> Tensor:
        """Of the first images, (N, C, H, W) uint8."""
        (batch,) = self.reading.localise(runner, [(images, torch.ones(len(images), dtype=torch.bool))])
        return batch.heatmaps

    def reset(self) -> None:
        """Begin anew after an update."""

    def before_step(self, listens: bool) -> None:
        """Nothing to watch."""

    def after_step(self, data_batch: dict) -> None:
        """Nothing watched."""

    def close(self) -> None:
        """Nothing attached."""


class ViewBoxes:
    """The training views' own heat maps, pasted into the image frame and averaged since the last update.

    Args:
        runner: Whose model makes them.
        targets: One data set.
        reading: How boxes are read.
        grid: Cells along a side of a map.
        device: Where the maps are kept; None is where the features are.
    """

    def __init__(
        self, runner, targets: BoxTargets, reading: Reading, grid: int, device: str | torch.device | None
    ) -> None:
        model = unwrapped(runner.model)
        self.targets, self.reading, self.grid, self.device = targets, reading, grid, device
        self.catcher = ViewCatcher(model, encoder_of(model, reading.encoder), reading.heatmap)
        self.maps: ViewHeatmaps | None = None
        self.spent = 0.0

    def ready(self, on_time: bool) -> bool:
        return on_time and self.maps is not None

    def rows(self, runner) -> Iterator[Tensor]:
        """As :meth:`ForwardBoxes.rows`; an image that no view has shown, such as an unreadable one, keeps its box."""
        self.maps.merge()
        device = self.maps.total.device
        old = self.targets.read().to(device)
        mine = torch.arange(get_rank(), len(old), get_world_size(), device=device)
        for part in mine.split(VIEW_CHUNK):
            maps, seen = self.maps.means(part)
            found = localise(maps, self.reading.size, self.reading.threshold, self.reading.adaptive)
            found.boxes = torch.where(seen[:, None], found.boxes, old[part])
            found.dead &= seen
            yield as_rows(found, torch.zeros_like(found.dead))

    def heatmaps(self, runner, images: Tensor) -> Tensor:
        return self.maps.means(slice(len(images)))[0]

    def reset(self) -> None:
        self.maps.reset()

    def before_step(self, listens: bool) -> None:
        self.catcher.listens = listens

    def after_step(self, data_batch: dict) -> None:
        if not self.catcher.listens:
            return
        begin = time.perf_counter()
        found = self.catcher.take()
        indices, geometry = self.catcher.take_geometry() or geometry_of(data_batch)
        if not found:
            raise ValueError(
                f"LocalizationHook: source='views', but the {self.reading.encoder} backbone took in no view of the "
                "batch as it was (they may be shuffled or mixed first); set source='forward'"
            )
        if self.maps is None:
            self.maps = ViewHeatmaps(len(self.targets), self.grid, self.device or next(iter(found.values())).device)
        for view, heatmaps in found.items():
            boxes, flips = (to_device(part[:, view], heatmaps.device) for part in (geometry.boxes, geometry.flips))
            self.maps.add(indices, heatmaps, boxes, flips)
        self.spent += time.perf_counter() - begin

    def close(self) -> None:
        self.catcher.remove()


def as_rows(found: HeatmapBoxes, unreadable: Tensor) -> Tensor:
    return torch.cat([found.boxes, found.dead[:, None], unreadable[:, None]], dim=1)
