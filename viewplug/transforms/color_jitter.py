"""mmpretrain's ColorJitter without its detours."""

import mmcv
import numpy as np
from mmpretrain.datasets.transforms import ColorJitter as StockColorJitter
from PIL import Image
from torchvision.transforms import functional

from viewplug.registry import TRANSFORMS

_STEPS = (
    functional.adjust_brightness,
    functional.adjust_contrast,
    functional.adjust_saturation,
    functional.adjust_hue,
)
"""In the order of mmpretrain's numbers for them."""


@TRANSFORMS.register_module()
class ColorJitter(StockColorJitter):
    """The same pixels as mmpretrain's, same arguments and same random numbers, in less time.

    The Pillow backend (the default) makes a Pillow image once for all four steps, where the stock transform makes one
    for each, of an array that lies backwards in memory; and what it returns is contiguous, which later steps gain
    from. With ``backend='cv2'`` it is the stock transform.

    Raises:
        ValueError: with the Pillow backend, an image that is not (H, W, 3) uint8, BGR.
    """

    def transform(self, results: dict) -> dict:
        if self.backend != 'pillow':
            return super().transform(results)
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
        jittered = Image.fromarray(mmcv.bgr2rgb(image))
        for step, factor in steps:
            jittered = step(jittered, factor)
        results['img'] = mmcv.rgb2bgr(np.asarray(jittered))
        return results
