"""mmpretrain's PackInputs that also lets through what only one method needs."""

from collections.abc import Sequence

import numpy as np
from mmcv.transforms import to_tensor
from mmpretrain.datasets.transforms import PackInputs

from viewplug.registry import TRANSFORMS

from .multi_view import META_KEYS

EXTRA_KEYS = ('queries', 'query_boxes', 'masks', 'patches')


@TRANSFORMS.register_module()
class PackViews(PackInputs):
    """PackInputs with the geometry of views among its ``meta_keys``, and extras as tensors beside ``inputs``.

    ``default_collate`` stacks the extras to ``queries`` (N, Q, 3, p, p), ``query_boxes`` (N, Q, 4), ``masks``
    (N, V, h, w), ``patches`` (N, rows, cols, 3, p, p), ``viewplug.ViewsDataPreprocessor`` moves and normalises them,
    and ``viewplug.Siamese`` (``patches``: CPC, Pretext) takes them by these names.

    Args:
        input_key, algorithm_keys, meta_keys: PackInputs'.
        extra_keys: what becomes a tensor of its own, where the results have it.
    """

    def __init__(
        self,
        input_key: str = 'img',
        algorithm_keys: Sequence[str] = (),
        meta_keys: Sequence[str] = META_KEYS,
        extra_keys: Sequence[str] = EXTRA_KEYS,
    ) -> None:
        super().__init__(input_key, algorithm_keys, meta_keys)
        self.extra_keys = tuple(extra_keys)

    def transform(self, results: dict) -> dict:
        packed = super().transform(results)
        extras = {key: results[key] for key in self.extra_keys if key in results}
        return packed | {key: to_tensor(np.ascontiguousarray(value)) for key, value in extras.items()}
