"""The order of images that reads shards one after another."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
from mmengine.dist import get_dist_info, sync_random_seed
from torch.utils.data import Sampler

from viewplug.registry import DATA_SAMPLERS


@DATA_SAMPLERS.register_module()
class ShardSampler(Sampler):
    """Shards in random order, cut into as many equal runs as there are ranks, each run mixed within a window.

    A shuffled list of all images (mmengine's DefaultSampler) is 48 bytes an image on every rank, and its neighbours lie
    anywhere on the disk. Here a rank goes through its shards once, from one end to the other: within a ``window`` of
    consecutive images the order is random, so no image is further from its place than that. Memory is one window and
    a few numbers a shard. An epoch has each image once, but for those few (fewer than ranks) that ``round_up`` repeats.

    The loader's workers take a rank's batches in turns, so they read the same part of the same shard, and the order is
    that of any number of workers. Images that are near in a shard meet in a batch: shuffle before packing, and let the
    window span several shards.

    Args:
        dataset: A ``viewplug.TarShards``, or anything with its ``shard_starts``.
        shuffle: Shards and windows at random, anew in each epoch; else the order of the data set.
        seed: The same on all ranks; None agrees on one.
        window: Images among which the order is random.
        round_up: Repeat images so that all ranks have as many; without, they differ by one.

    Raises:
        ValueError: the data set has no shards, or ``window`` is below 1.
    """

    def __init__(
        self, dataset, shuffle: bool = True, seed: int | None = None, window: int = 16384, round_up: bool = True
    ) -> None:
        if hasattr(dataset, 'full_init'):
            dataset.full_init()
        if not hasattr(dataset, 'shard_starts'):
            raise ValueError(
                f'ShardSampler reads shards, and {type(dataset).__name__} has none; use viewplug.TarShards without a '
                "wrapper, or sampler=dict(type='DefaultSampler')"
            )
        if window < 1:
            raise ValueError(f'ShardSampler: window must be at least 1 image, got {window}')
        self.dataset, self.shuffle, self.window = dataset, shuffle, window
        self.seed = sync_random_seed() if seed is None else seed
        self.epoch = 0
        total, (self.rank, world) = len(dataset), get_dist_info()
        if round_up:
            share = math.ceil(total / world)
            self.first, self.last = self.rank * share, (self.rank + 1) * share
        else:
            self.first, self.last = self.rank * total // world, (self.rank + 1) * total // world

    def __iter__(self) -> Iterator[int]:
        starts = np.asarray(self.dataset.shard_starts)
        order = np.arange(len(starts) - 1)
        if self.shuffle:
            np.random.default_rng([self.seed, self.epoch]).shuffle(order)
        within = np.random.default_rng([self.seed, self.epoch, self.rank])
        sizes = np.diff(starts)[order]
        ends = np.cumsum(sizes)
        for low in range(self.first, self.last, self.window):
            places = np.arange(low, min(low + self.window, self.last)) % ends[-1]
            turn = np.searchsorted(ends, places, side='right')
            images = starts[order[turn]] + places - (ends[turn] - sizes[turn])
            if self.shuffle:
                within.shuffle(images)
            yield from images.tolist()

    def __len__(self) -> int:
        return self.last - self.first

    def set_epoch(self, epoch: int) -> None:
        """Another order."""
        self.epoch = epoch
