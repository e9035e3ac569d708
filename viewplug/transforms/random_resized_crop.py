"""mmpretrain's RandomResizedCrop that says where it cut."""

import mmcv
import numpy as np
from mmpretrain.datasets.transforms import RandomResizedCrop as StockRandomResizedCrop

from viewplug.crop_sampling import check_ranges
from viewplug.registry import TRANSFORMS


@TRANSFORMS.register_module()
class RandomResizedCrop(StockRandomResizedCrop):
    """The same crop as mmpretrain's, same arguments and same random numbers, and ``crop_box`` beside it.

    Added key: ``crop_box`` (x0, y0, x1, y1), float32 fractions of the image it was cut from.

    Raises:
        ValueError: a range that makes no sense, or no attempt, with which every crop would be the central one.
    """

    geometry = 'recorded'

    def __init__(self, *args, **kwargs) -> None:
        super().__init__(*args, **kwargs)
        check_ranges(self.crop_ratio_range, self.aspect_ratio_range, self.max_attempts)

    def transform(self, results: dict) -> dict:
        image = results['img']
        top, left, height, width = self.rand_crop_params(image)
        # Contiguous, since Pillow's copy of a cut-out piece takes longer than the resizing.
        crop = np.ascontiguousarray(image[top : top + height, left : left + width])
        size = tuple(self.scale[::-1])
        view = mmcv.imresize(crop, size, interpolation=self.interpolation, backend=self.backend)
        corners = np.array([left, top, left + width, top + height])
        results['crop_box'] = (corners / np.tile(image.shape[1::-1], 2)).astype(np.float32)
        results['img'], results['img_shape'] = view, view.shape
        return results
