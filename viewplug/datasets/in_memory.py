"""A small data set as one tensor: no decoding, no loader workers, a batch is one lookup."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from mmengine.dataset import ClassBalancedDataset, RepeatDataset
from mmengine.device import get_device
from mmengine.logging import print_log
from mmengine.utils import track_iter_progress
from torch import Tensor
from torch.utils.data import Dataset, get_worker_info

from viewplug.devices import to_device
from viewplug.registry import DATASETS, FUNCTIONS


@DATASETS.register_module()
class InMemoryDataset(Dataset):
    """The images of another data set, read once through its pipeline and held as uint8 on one device.

    For data sets that fit (CIFAR, STL-10, Tiny ImageNet, ShapeScenes) and views made by ``viewplug.BatchViews``.
    Ordinary samplers shuffle it and share it out over ranks; each rank holds all images. The loader needs
    ``num_workers=0`` and ``collate_fn=dict(type='viewplug.take_batch')``.

    Args:
        dataset: the data set (or its config) to read. Its pipeline gives ``img`` (H, W, 3) uint8, all of one size.
        device: where the images live; None is the GPU if there is one. 'cpu' costs one copy a batch on a GPU.

    Attributes:
        images: (N, 3, H, W) uint8.
        labels: (N,) int64, -1 where there is no ``gt_label``.

    Raises:
        ValueError: no images, or images of several sizes.
    """

    def __init__(
        self, dataset: dict | Dataset | RepeatDataset | ClassBalancedDataset, device: str | torch.device | None = None
    ) -> None:
        self.dataset = DATASETS.build(dataset) if isinstance(dataset, dict) else dataset
        self.device = device or get_device()
        self.images: Tensor | None = None
        self.labels: Tensor | None = None

    @property
    def metainfo(self) -> dict:
        return getattr(self.dataset, 'metainfo', {})

    def full_init(self) -> None:
        """Read everything; the Runner calls this, and so does the first access."""
        if self.images is not None:
            return
        if hasattr(self.dataset, 'full_init'):
            self.dataset.full_init()
        if not len(self.dataset):
            raise ValueError(f'InMemoryDataset: {type(self.dataset).__name__} is empty')
        pixels, labels = None, np.full(len(self.dataset), -1)
        indices = range(len(self.dataset))
        print_log(f'Reading {len(self.dataset)} images of {type(self.dataset).__name__} into memory', 'current')
        for index in track_iter_progress(indices) if len(indices) >= 20_000 else indices:
            sample = self.dataset[index]
            image = sample['img']
            if pixels is None:
                pixels = np.empty((len(self.dataset), *image.shape), np.uint8)
            if image.shape != pixels.shape[1:]:
                raise ValueError(
                    f'InMemoryDataset holds images of one size, but image {index} is {image.shape} and the first '
                    f"{pixels.shape[1:]}; add dict(type='Resize', scale=(W, H)) to the inner data set's pipeline"
                )
            pixels[index], labels[index] = image, sample.get('gt_label', -1)
        self.images = torch.from_numpy(pixels.transpose(0, 3, 1, 2)).contiguous().to(self.device)
        self.labels = torch.from_numpy(labels).to(self.device)

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitems__(self, indices: Sequence[int]) -> dict[str, Tensor]:
        """A whole batch: ``inputs`` (N, 3, H, W) uint8 and ``sample_idx`` (N,) int64 (on the CPU)."""
        if get_worker_info() is not None:
            raise ValueError('InMemoryDataset hands out batches itself: set train_dataloader.num_workers=0')
        self.full_init()
        sample_idx = torch.as_tensor(indices)
        return dict(inputs=self.images[to_device(sample_idx, self.images.device)], sample_idx=sample_idx)

    def __getitem__(self, index: int) -> dict:
        """One image in a pipeline's terms: ``img`` (H, W, 3), ``gt_label``, ``sample_idx``."""
        self.full_init()
        image = self.images[index].permute(1, 2, 0).cpu().numpy()
        return dict(img=image, gt_label=int(self.labels[index]), sample_idx=index)


@FUNCTIONS.register_module()
def take_batch(batch: dict) -> dict:
    """The ``collate_fn`` of data sets that give whole batches themselves.

    Raises:
        TypeError: the data set gave a list of samples, as ordinary ones do.
    """
    if not isinstance(batch, dict):
        raise TypeError(
            f'viewplug.take_batch is for viewplug.InMemoryDataset, got a {type(batch).__name__} of samples; '
            "use collate_fn=dict(type='default_collate')"
        )
    return batch
