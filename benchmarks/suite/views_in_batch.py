"""The augmentation of ``view_pipelines`` in batch: by ``viewplug.BatchViews``, and by kornia."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from .view_pipelines import MEAN, MOCO_V2, STD, V2_KERNEL, Pipeline, steps


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


def kornia_views(images: np.ndarray, size: int, blur: bool, device: str) -> Pipeline:
    """kornia's augmentations of a batch of uint8 tensors that lies on the device."""
    from kornia import augmentation as K

    how = MOCO_V2
    kernel = (V2_KERNEL, V2_KERNEL)
    transform = torch.nn.Sequential(
        K.RandomResizedCrop((size, size), scale=how['area']),
        K.ColorJitter(**how['jitter'], p=how['jitter_prob']),
        K.RandomGrayscale(p=how['grey_prob']),
        *([K.RandomGaussianBlur(kernel, how['sigma'], p=how['blur_prob'])] if blur else []),
        K.RandomHorizontalFlip(p=how['flip_prob']),
        K.Normalize(torch.tensor(MEAN) / 255, torch.tensor(STD) / 255),
    )
    tensors = torch.from_numpy(images).permute(0, 3, 1, 2).contiguous().to(device)

    def views(indices: Sequence[int]) -> Sequence[Tensor]:
        batch = tensors[torch.as_tensor(indices, device=device)].float().div_(255)
        return [transform(batch), transform(batch)]

    return views


class Arrays(Dataset):
    """RGB images as samples that a pipeline starts from: ``img`` (H, W, 3) uint8, BGR."""

    def __init__(self, images: np.ndarray) -> None:
        self.images = images

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> dict:
        return dict(img=self.images[index][..., ::-1], sample_idx=index)
