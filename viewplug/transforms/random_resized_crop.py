"""mmpretrain's RandomResizedCrop that says where it cut."""

import numpy as np
from mmpretrain.datasets.transforms import RandomResizedCrop as StockRandomResizedCrop

from viewplug.registry import TRANSFORMS


@TRANSFORMS.register_module()
class RandomResizedCrop(StockRandomResizedCrop):
    """The same crop as mmpretrain's, same arguments and same random numbers, and ``crop_box`` beside it.

    Added key: ``crop_box`` (x0, y0, x1, y1), float32 fractions of the image it was cut from.
    """

    def transform(self, results: dict) -> dict:
        height, width = results['img'].shape[:2]
        self._last = None
        results = super().transform(results)
        top, left, crop_height, crop_width = self._last
        corners = (left / width, top / height, (left + crop_width) / width, (top + crop_height) / height)
        results['crop_box'] = np.asarray(corners, dtype=np.float32)
        return results

    def rand_crop_params(self, img: np.ndarray) -> tuple[int, int, int, int]:
        self._last = super().rand_crop_params(img)
        return self._last
