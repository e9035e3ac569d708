"""One colour channel in place of three."""

from __future__ import annotations

from typing import Literal

import numpy as np
from mmcv.transforms import BaseTransform

from viewplug.registry import TRANSFORMS


@TRANSFORMS.register_module()
class DropColours(BaseTransform):
    """Drop two of the three colour channels at random (CPC v2, arXiv:1905.09272, sec. 4.1; arXiv:1505.05192, sec. 3).

    Lenses bend colours differently, so where a patch lay in its image can be read off the shift between its channels:
    a shortcut that is gone when one channel is left.

    Args:
        prob: chance that a sample loses two channels.
        fill: what stands in the dropped channels: 'repeat' (the kept one: a grey image), 'noise' (Gaussian, 1/100 of
            the kept one's deviation around the middle grey 127.5, as in arXiv:1505.05192), or 'zero'.

    Raises:
        ValueError: ``prob`` outside [0, 1] or an unknown ``fill``.
    """

    def __init__(self, prob: float = 0.5, fill: Literal['repeat', 'noise', 'zero'] = 'repeat') -> None:
        if not 0 <= prob <= 1:
            raise ValueError(f'DropColours: prob must lie in [0, 1], got {prob}')
        self.prob, self.fill = prob, fill

    def transform(self, results: dict) -> dict:
        if np.random.rand() >= self.prob:
            return results
        image = results['img']
        kept = np.random.randint(image.shape[2])
        channel = image[..., kept : kept + 1]
        if self.fill == 'repeat':
            dropped = np.repeat(channel, image.shape[2], axis=2)
        elif self.fill == 'noise':
            noise = np.random.normal(127.5, channel.std() / 100, image.shape)
            dropped = np.clip(np.rint(noise), 0, 255).astype(image.dtype)
        else:
            dropped = np.zeros_like(image)
        dropped[..., kept] = channel[..., 0]
        results['img'] = dropped
        return results

    def __repr__(self) -> str:
        return f'{type(self).__name__}(prob={self.prob}, fill={self.fill!r})'
