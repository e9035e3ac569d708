"""ContrastiveCrop for whole batches."""

from __future__ import annotations

import os
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from viewplug.box_store import BoxStore
from viewplug.crop_sampling import Center, center_distribution

from .crop import RandomResizedCrop
from .crop_boxes import random_resized_crop_boxes


class ContrastiveCrop(RandomResizedCrop):
    """``viewplug.ContrastiveCrop`` (ContrastiveCrop, algorithm 1), same arguments, for views cut in batch.

    The boxes of the images are the rows ``sample_idx`` of :attr:`box_store`, the whole image where one is not usable;
    until ``viewplug.LocalizationHook`` has written them it is RandomResizedCrop.

    Raises:
        ValueError: an argument out of its range; boxes, but a batch that does not say which images it holds.
    """

    def __init__(
        self,
        scale: int | Sequence[int],
        crop_ratio_range: tuple[float, float] = (0.2, 1.0),
        aspect_ratio_range: tuple[float, float] = (3 / 4, 4 / 3),
        alpha: float = 0.6,
        localize: bool = True,
        interpolation: str = 'bilinear',
        backend: str = 'cv2',
        max_attempts: int = 10,
        center: str | Center = 'beta',
        store: BoxStore | str | os.PathLike | None = None,
    ) -> None:
        super().__init__(scale, crop_ratio_range, aspect_ratio_range, max_attempts, interpolation, backend)
        self.alpha, self.localize, self.center = alpha, localize, center
        self.interpolation, self.backend = interpolation, backend
        self.box_store = store if isinstance(store, BoxStore) else BoxStore(store)
        self._draw = center_distribution(center, alpha)

    @property
    def scale(self) -> tuple[int, int]:
        """Height and width of the views."""
        return self.resample.size

    def boxes(
        self, sizes: Tensor, generator: torch.Generator | None = None, sample_idx: Tensor | None = None
    ) -> Tensor:
        around = self._image_boxes(sample_idx)
        early = self.localize and around is None
        return random_resized_crop_boxes(
            sizes,
            self.crop_ratio_range,
            self.aspect_ratio_range,
            generator,
            self.max_attempts,
            around=around,
            places=None if early else self._places(len(sizes), generator),
        )

    def _image_boxes(self, sample_idx: Tensor | None) -> np.ndarray | None:
        if not self.localize or not len(self.box_store):
            return None
        if sample_idx is None:
            raise ValueError(
                f'ContrastiveCrop has boxes for {len(self.box_store)} images, but the batch does not say which images '
                "it holds: it needs 'sample_idx' (viewplug.InMemoryDataset gives it, PackInputs with "
                "meta_keys=('sample_idx', ...) too)"
            )
        return self.box_store.rows(sample_idx)

    def _places(self, n: int, generator: torch.Generator | None) -> np.ndarray | None:
        if self.center == 'uniform' or (self.center == 'beta' and self.alpha == 1):
            return None  # RandomResizedCrop's own
        rng = np.random.default_rng(int(torch.randint(2**63 - 1, (), generator=generator)))
        if self.center == 'beta':
            return rng.beta(self.alpha, self.alpha, (2, n))
        places = np.array([self._draw(rng) for _ in range(2 * n)]).reshape(2, n)
        if not ((places >= 0) & (places <= 1)).all():
            raise ValueError(f'center must draw from [0, 1], got {places.min()} to {places.max()}')
        return places
