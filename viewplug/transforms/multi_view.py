"""Several views of one image, with the record of where each was cut."""

import copy
from collections.abc import Sequence

import numpy as np
from mmpretrain.datasets.transforms import MultiView as StockMultiView

from viewplug.registry import TRANSFORMS

META_KEYS = ('sample_idx', 'img_path', 'ori_shape', 'img_shape', 'crop_box', 'flip')
"""What ``PackInputs(meta_keys=...)`` must carry for ``viewplug.views.ViewGeometry``; it drops what is not named."""


@TRANSFORMS.register_module()
class MultiView(StockMultiView):
    """mmpretrain's MultiView, which keeps the geometry of the views that the stock one drops.

    Args:
        transforms, num_views: as mmpretrain's.
        shared_flip: chance that all views are mirrored together, after their own transforms (ReSim, sec. 4.1, whose
            views are mirrored together only: leave RandomFlip out of ``transforms`` for that).

    Added keys: ``crop_box`` (V, 4) float32, x0, y0, x1, y1 as fractions of the image, and ``flip`` (V,) bool. They are
    written only if every view's pipeline records where it cut (``viewplug.RandomResizedCrop``, not the stock crop).
    Flips must come after the crop, and only horizontal ones are known to the geometry.

    Raises:
        ValueError: a view was flipped in another direction while crops are recorded.
    """

    def __init__(
        self, transforms: Sequence[Sequence], num_views: int | Sequence[int], shared_flip: float = 0.0
    ) -> None:
        super().__init__(transforms, num_views)
        if not 0 <= shared_flip <= 1:
            raise ValueError(f'viewplug.MultiView: shared_flip must lie in [0, 1], got {shared_flip}')
        self.shared_flip = shared_flip

    def transform(self, results: dict) -> dict:
        views = [pipeline(copy.deepcopy(results)) for pipeline in self.transforms]
        mirrored = bool(self.shared_flip) and np.random.rand() < self.shared_flip
        results['img'] = [np.flip(view['img'], axis=1).copy() if mirrored else view['img'] for view in views]
        results['img_shape'] = [view['img'].shape[:2] for view in views]
        if all('crop_box' in view for view in views):
            directions = {view.get('flip_direction') for view in views} - {None, 'horizontal'}
            if directions:
                raise ValueError(
                    f'viewplug.MultiView: the geometry of views knows horizontal flips only, got {directions}; '
                    "set RandomFlip's direction='horizontal'"
                )
            results['crop_box'] = np.stack([view['crop_box'] for view in views])
            results['flip'] = np.asarray([bool(view.get('flip', False)) != mirrored for view in views])
        return results
