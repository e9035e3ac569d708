"""Query patches: small crops of the image beside its views."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from mmcv import imresize
from mmcv.transforms import BaseTransform
from mmengine.dataset import Compose

from viewplug.crop_sampling import check_ranges, sample_crop
from viewplug.registry import TRANSFORMS


@TRANSFORMS.register_module()
class QueryCrops(BaseTransform):
    """Q random crops of the whole image, each resized to one patch of the ViT (ADCLR's query patches).

    Before ``viewplug.MultiView`` in the pipeline, with ``viewplug.PackViews`` at its end. Crops are RandomResizedCrop's
    and are drawn from ``np.random``. The paper's text that is public names neither their number nor their area: both
    defaults are our choice.

    Added keys: ``queries`` (Q, 3, p, p) uint8; ``query_boxes`` (Q, 4) float32, x0, y0, x1, y1 as fractions of the
    image.

    Args:
        num: Q.
        scale: p, the side of a patch in pixels.
        crop_ratio_range: area of a crop as a fraction of the image's.
        aspect_ratio_range: width over height of a crop.
        max_attempts: sizes drawn before the central crop.
        interpolation, backend: as in mmpretrain's RandomResizedCrop; 'pillow' is antialiased.
        transforms: what else happens to each query by itself, e.g. colour augmentation. A flip is not recorded.

    Raises:
        ValueError: an argument out of its range; at a sample, queries of another size than p.
    """

    beside_image = True

    def __init__(
        self,
        num: int = 10,
        scale: int = 16,
        crop_ratio_range: tuple[float, float] = (0.05, 0.25),
        aspect_ratio_range: tuple[float, float] = (3 / 4, 4 / 3),
        max_attempts: int = 10,
        interpolation: str = 'bilinear',
        backend: str = 'pillow',
        transforms: Sequence[dict | Callable] = (),
    ) -> None:
        check_ranges(crop_ratio_range, aspect_ratio_range, max_attempts)
        for key, value in (('num', num), ('scale', scale)):
            if not isinstance(value, int) or value < 1:
                raise ValueError(f'viewplug.QueryCrops: {key} must be a positive whole number, got {value!r}')
        self.num, self.scale = num, scale
        self.ranges = crop_ratio_range, aspect_ratio_range
        self.max_attempts = max_attempts
        self.interpolation, self.backend = interpolation, backend
        self.own = Compose(list(transforms))

    def transform(self, results: dict) -> dict:
        image = results['img']
        height, width = image.shape[:2]
        queries, boxes = [], []
        for _ in range(self.num):
            top, left, crop_height, crop_width = sample_crop(
                height, width, None, *self.ranges, center='uniform', max_attempts=self.max_attempts
            )
            bottom, right = top + crop_height, left + crop_width
            queries.append(self._resized(image[top:bottom, left:right]))
            boxes.append((left / width, top / height, right / width, bottom / height))
        results['queries'] = np.stack(queries).transpose(0, 3, 1, 2)
        results['query_boxes'] = np.asarray(boxes, dtype=np.float32)
        return results

    def _resized(self, crop: np.ndarray) -> np.ndarray:
        size = (self.scale, self.scale)
        patch = imresize(np.ascontiguousarray(crop), size, interpolation=self.interpolation, backend=self.backend)
        patch = np.atleast_3d(self.own(dict(img=patch, img_shape=size))['img'])
        if patch.shape[:2] != size:
            raise ValueError(
                f'viewplug.QueryCrops: transforms made a query of {patch.shape[:2]} px, scale={self.scale}'
            )
        return patch

    def __repr__(self) -> str:
        return f'{type(self).__name__}(num={self.num}, scale={self.scale}, ranges={self.ranges}, transforms={self.own})'
