"""The images of a data set without its augmentations."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence

import numpy as np
import torch
from mmcv import imresize
from mmengine.dataset import BaseDataset, Compose
from torch import Tensor
from torch.utils.data import Dataset


class WholeImages(Dataset):
    """Images of a leaf data set, whole, resized to one size (the aspect ratio is not kept), as uint8 tensors.

    The data set reads and decodes as it always does, corrupt files and file clients included; only its pipeline is
    another one. The data set itself is not touched. Item ``i`` is ((C, H, W) uint8, whether that is image ``i``): False
    where the data set replaced an image that it cannot read, and the pixels are then black.

    Args:
        leaf: The data set, with ``prepare_data`` and ``sample_idx`` as mmengine's ``BaseDataset`` has them.
        steps: The transforms that make ``img`` (loading).
        size: Height, width, pixels.
        interpolation, backend: Of mmcv's ``imresize``.
    """

    def __init__(
        self,
        leaf: BaseDataset,
        steps: Sequence[Callable],
        size: tuple[int, int],
        interpolation: str = 'bilinear',
        backend: str = 'cv2',
    ) -> None:
        leaf.full_init()
        self.leaf = copy.copy(leaf)
        self.leaf.pipeline = Compose(steps)
        self.size, self.interpolation, self.backend = tuple(size), interpolation, backend
        self._channels = 3

    def __len__(self) -> int:
        return len(self.leaf)

    def __getitem__(self, index: int) -> tuple[Tensor, bool]:
        results = self.leaf.prepare_data(index)
        if results is None or results.get('sample_idx', index) != index:
            return torch.zeros(self._channels, *self.size, dtype=torch.uint8), False
        image = imresize(results['img'], self.size[::-1], interpolation=self.interpolation, backend=self.backend)
        image = np.atleast_3d(image)
        self._channels = image.shape[2]
        return torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1))), True


def images_as_loaded(leaf: BaseDataset, indices: Sequence[int]) -> list[Tensor]:
    """Images (3, H_i, W_i) uint8 as they come to MultiView or, without one, to PackInputs, or a class derived of it."""
    leaf = copy.copy(leaf)
    steps = leaf.pipeline.transforms
    kinds = [{kind.__name__ for kind in type(step).__mro__} for step in steps]
    ends = [place for place, names in enumerate(kinds) if names & {'MultiView', 'PackInputs'}]
    leaf.pipeline = Compose(steps[: min(ends, default=len(steps))])
    pixels = [np.atleast_3d(leaf[index]['img']).transpose(2, 0, 1) for index in indices]
    return [torch.from_numpy(np.ascontiguousarray(image)).expand(3, -1, -1) for image in pixels]
