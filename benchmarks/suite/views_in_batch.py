"""The augmentation of ``view_pipelines`` by ``viewplug.BatchViews``, from a data set in memory."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from torch import Tensor
from torch.utils.data import Dataset

from .view_pipelines import MEAN, STD, Pipeline, steps


def batch_views(images: np.ndarray, size: int, blur: bool, device: str) -> Pipeline:
    """``InMemoryDataset`` and ``BatchViews``, as ``views='device'`` sets them up."""
    from viewplug.batch_views import BatchViews
    from viewplug.datasets import InMemoryDataset, take_batch

    dataset = InMemoryDataset(Arrays(images), device)
    dataset.full_init()
    preprocess = BatchViews([steps(size, blur)], num_views=2, mean=MEAN, std=STD, to_rgb=True).to(device)

    def views(indices: Sequence[int]) -> Sequence[Tensor]:
        return preprocess(take_batch(dataset.__getitems__(indices)), True)['inputs']

    return views


class Arrays(Dataset):
    """RGB images as samples that a pipeline starts from: ``img`` (H, W, 3) uint8, BGR."""

    def __init__(self, images: np.ndarray) -> None:
        self.images = images

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> dict:
        return dict(img=self.images[index][..., ::-1], sample_idx=index)
