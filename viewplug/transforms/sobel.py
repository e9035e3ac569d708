"""Sobel filtering."""

from __future__ import annotations

import cv2
import numpy as np
from mmcv.transforms import BaseTransform

from viewplug.batch_views.operator import check_prob
from viewplug.registry import TRANSFORMS


@TRANSFORMS.register_module()
class Sobel(BaseTransform):
    """The length of the gradient that Sobel's kernels find, in each channel (SimCLR, arXiv:2002.05709, fig. 4j).

    Divided by 4, so that an edge from 0 to 255 gives 255; more is cut off. Border pixels go on beyond the border.
    Modified key: ``img``.

    Args:
        prob: chance that the image is filtered.
    """

    def __init__(self, prob: float = 0.5) -> None:
        self.prob = check_prob('Sobel', prob)

    def transform(self, results: dict) -> dict:
        if np.random.rand() < self.prob:
            image = results['img']
            across, down = (
                cv2.Sobel(image, cv2.CV_32F, *axes, ksize=3, borderType=cv2.BORDER_REPLICATE)
                for axes in ((1, 0), (0, 1))
            )
            results['img'] = np.rint(np.hypot(across, down) / 4).clip(0, 255).astype(image.dtype)
        return results
