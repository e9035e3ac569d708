"""mmpretrain's ColorJitter without its detours, for RGB images too."""

from collections.abc import Sequence

import mmcv
import numpy as np
from mmpretrain.datasets.transforms import ColorJitter as StockColorJitter
from PIL import Image
from torchvision.transforms import functional

from viewplug.batch_views.color import check_color_format
from viewplug.registry import TRANSFORMS

from .pillow_color import adjust_contrast, adjust_hue

_STEPS = (functional.adjust_brightness, adjust_contrast, functional.adjust_saturation, adjust_hue)
"""In the order of mmpretrain's numbers for them."""


@TRANSFORMS.register_module()
class ColorJitter(StockColorJitter):
    """The same pixels as mmpretrain's, same arguments and same random numbers, in less time.

    The Pillow backend (the default) makes a Pillow image once for all four steps, where the stock transform makes one
    for each, of an array that lies backwards in memory; hue and contrast take less time than Pillow's
    (:mod:`viewplug.transforms.pillow_color`); and what it returns is contiguous, which later steps gain from. With
    ``backend='cv2'`` it is the stock transform.

    Args:
        brightness, contrast, saturation, hue, backend: mmpretrain's.
        color_format: order of the image's channels, 'bgr' (mmcv's loaders; all that mmpretrain's knows) or 'rgb'
            (mmpretrain's CIFAR): by it contrast and saturation weigh the channels, and the hue turns.

    Raises:
        ValueError: another ``color_format``; with the Pillow backend, an image that is not (H, W, 3) uint8.
    """

    def __init__(
        self,
        brightness: float | Sequence[float] = 0.0,
        contrast: float | Sequence[float] = 0.0,
        saturation: float | Sequence[float] = 0.0,
        hue: float | Sequence[float] = 0.0,
        backend: str = 'pillow',
        color_format: str = 'bgr',
    ) -> None:
        super().__init__(brightness, contrast, saturation, hue, backend)
        self.color_format = check_color_format('viewplug.ColorJitter', color_format)

    def transform(self, results: dict) -> dict:
        rgb = self.color_format == 'rgb'
        if self.backend != 'pillow':
            return _swapped(super().transform(_swapped(results))) if rgb else super().transform(results)
        order, *factors = self._rand_params()
        steps = [(_STEPS[step], factors[step]) for step in order if factors[step] is not None]
        image = results['img']
        if not steps:
            return results
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
            raise ValueError(
                "viewplug.ColorJitter: backend='pillow' needs an (H, W, 3) uint8 image, "
                f'got {image.shape} {image.dtype}'
            )
        jittered = Image.fromarray(np.ascontiguousarray(image) if rgb else mmcv.bgr2rgb(image))
        for step, factor in steps:
            jittered = step(jittered, factor)
        results['img'] = np.array(jittered) if rgb else mmcv.rgb2bgr(np.asarray(jittered))
        return results


def _swapped(results: dict) -> dict:
    return {**results, 'img': mmcv.rgb2bgr(results['img'])}
