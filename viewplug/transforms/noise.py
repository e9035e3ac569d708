"""Gaussian noise."""

from __future__ import annotations

import numpy as np
from mmpretrain.datasets.transforms.auto_augment import BaseAugTransform

from viewplug.batch_views.operator import check_prob
from viewplug.registry import TRANSFORMS


@TRANSFORMS.register_module()
class GaussianNoise(BaseAugTransform):
    """Noise added to every channel of every pixel (SimCLR, arXiv:2002.05709, fig. 4h), cut off at 0 and 255.

    Modified key: ``img``.

    Args:
        std: standard deviation in 0..255, if it is fixed.
        prob: chance that the image gets noise.
        **magnitude: ``magnitude_range`` and the other arguments of mmpretrain's ``GaussianBlur``, if ``std`` is not.

    Raises:
        ValueError: neither or both of ``std`` and ``magnitude_range``.
    """

    def __init__(self, std: float | None = None, prob: float = 0.5, **magnitude) -> None:
        super().__init__(prob=check_prob('GaussianNoise', prob), random_negative_prob=0.0, **magnitude)
        if (std is None) == (self.magnitude_range is None):
            raise ValueError(
                f'GaussianNoise: std or magnitude_range must be given, and not both: got {std} and '
                f'{self.magnitude_range}'
            )
        self.std = std

    def transform(self, results: dict) -> dict:
        if not self.random_disable():
            std = self.random_magnitude() if self.std is None else self.std
            image = results['img']
            noisy = np.rint(image + np.random.normal(0, std, image.shape))
            results['img'] = noisy.clip(0, 255).astype(image.dtype)
        return results
