"""ContrastiveCrop as a transform of OpenMMLab pipelines."""

import os
from collections.abc import Sequence

import numpy as np
from mmcv.transforms.utils import cache_randomness

from viewplug.box_store import BoxStore
from viewplug.crop_sampling import WHOLE_IMAGE, Center, center_distribution, check_ranges, sample_crop, uniform
from viewplug.registry import TRANSFORMS

from .random_resized_crop import RandomResizedCrop


@TRANSFORMS.register_module()
class ContrastiveCrop(RandomResizedCrop):
    """RandomResizedCrop whose centre lies in a box and keeps away from the box's middle (ContrastiveCrop, algorithm 1).

    Takes RandomResizedCrop's place in a pipeline of any OpenMMLab library, inside any MultiView too; each view draws
    its own crop from the same box. It draws from ``np.random``, like mmpretrain's.
    :func:`viewplug.crop_sampling.sample_crop` says how crops are drawn.

    The box of an image is ``results['box']``, fractions x0, y0, x1, y1 or None for none, if that key is there; else row
    ``results['sample_idx']`` of :attr:`box_store`. An image without a box, as all are until boxes are written, is cut
    by RandomResizedCrop, mmpretrain's to the bit: both halves of the method begin together (sec. 3.2 and 4.2). Boxes
    are those of the image as it comes in, so flips and other crops belong behind this transform.

    Added key: ``crop_box`` (x0, y0, x1, y1), float32 fractions of the image it was cut from.

    Args:
        scale: Size of the view, pixels: a number, or (height, width).
        crop_ratio_range: Area of the crop as a fraction of the image's. The default is that of MoCo and the paper;
            mmpretrain's is (0.08, 1.0), so name it when you swap this transform into a config that does not.
        aspect_ratio_range: Width over height of the crop.
        alpha: Of the centre's Beta(alpha, alpha). The paper has 0.6 on ImageNet and 0.1 on small images;
            1 is localisation without suppression.
        localize: False ignores all boxes: suppression without localisation, from the first step on.
        interpolation, backend, max_attempts: As in mmpretrain's RandomResizedCrop.
        center: Another distribution than Beta: 'uniform', 'quadratic', or a function of a random state that returns a
            number in [0, 1].
        store: Where the boxes are: None for a file of its own, a path, or a BoxStore to share.

    Raises:
        ValueError: an argument out of its range; at a sample, boxes but no ``sample_idx`` or no box for it.
    """

    # cache_randomness would otherwise add its method's name to the list that mmpretrain's class reads.
    _methods_with_randomness: list[str] = []

    def __init__(
        self,
        scale: Sequence[int] | int,
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
        check_ranges(crop_ratio_range, aspect_ratio_range, max_attempts)
        super().__init__(scale, crop_ratio_range, aspect_ratio_range, max_attempts, interpolation, backend)
        self.alpha = alpha
        self.localize = localize
        self.center = center
        self.box_store = store if isinstance(store, BoxStore) else BoxStore(store)
        self._draw = center_distribution(center, alpha)
        self._box = None

    def transform(self, results: dict) -> dict:
        self._box = self._box_of(results) if self.localize else WHOLE_IMAGE
        return super().transform(results)

    def rand_crop_params(self, img: np.ndarray) -> tuple[int, int, int, int]:
        return self.rand_contrastive_crop(img)

    @cache_randomness
    def rand_contrastive_crop(self, img: np.ndarray) -> tuple[int, int, int, int]:
        return sample_crop(
            *img.shape[:2],
            self._box,
            self.crop_ratio_range,
            self.aspect_ratio_range,
            center=uniform if self._box is None else self._draw,
            max_attempts=self.max_attempts,
        )

    def __repr__(self) -> str:
        return (
            f'{super().__repr__()[:-1]}, alpha={self.alpha}, localize={self.localize}, center={self.center!r}, '
            f'box_store={self.box_store!r})'
        )

    def _box_of(self, results: dict):
        if 'box' in results:
            return results['box']
        if 'sample_idx' in results:
            return self.box_store.read(results['sample_idx'])
        if len(self.box_store):
            raise ValueError(
                f"ContrastiveCrop has boxes for {len(self.box_store)} images, but the results have no 'sample_idx' to "
                "find an image's box by; use a data set that sets it (mmengine's BaseDataset does), pass "
                "results['box'], or set localize=False."
            )
        return None
