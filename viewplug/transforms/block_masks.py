"""Masks of the global views as a transform of OpenMMLab pipelines."""

from mmcv.transforms import BaseTransform

from viewplug.block_masking import BlockMasking
from viewplug.registry import TRANSFORMS


@TRANSFORMS.register_module()
class BlockMasks(BaseTransform):
    """Which patches of an image's first views are masked (iBOT), for ``viewplug.PackViews`` to pack.

    Anywhere in the pipeline outside MultiView's own transforms. Draws from ``np.random``.

    Added key: ``masks`` (V, h, w) bool.

    Args:
        num_views: V, how many views from the first on: the global ones.
        **settings: ``grid``, ``ratio``, ``ratio_spread``, ``prob``, ``aspect_ratio_range`` of
            :class:`viewplug.block_masking.BlockMasking`.

    Raises:
        ValueError: an argument out of its range.
    """

    beside_image = True

    def __init__(self, num_views: int = 2, **settings) -> None:
        if num_views < 1:
            raise ValueError(f'viewplug.BlockMasks: num_views must be at least 1, got {num_views}')
        self.num_views = num_views
        self.masking = BlockMasking(**settings)

    def transform(self, results: dict) -> dict:
        results['masks'] = self.masking.draw(self.num_views)
        return results

    def __repr__(self) -> str:
        return f'{type(self).__name__}(num_views={self.num_views}, {self.masking})'
