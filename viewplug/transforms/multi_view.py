"""Several views of one image, with the record of where each was cut."""

import copy
from collections.abc import Iterable, Sequence

import numpy as np
from mmpretrain.datasets.transforms import MultiView as StockMultiView

from viewplug.registry import TRANSFORMS, check_not_hidden

from .view_record import KEYS, UnrecordedMove, ViewRecord, records_crop, unknown_geometry

META_KEYS = ('sample_idx', 'img_path', 'ori_shape', 'img_shape', 'crop_box', 'flip')
"""What ``PackInputs(meta_keys=...)`` must carry for ``viewplug.views.ViewGeometry``; it drops what is not named."""


@TRANSFORMS.register_module()
class MultiView(StockMultiView):
    """mmpretrain's MultiView, which keeps the geometry of the views that the stock one drops.

    Args:
        transforms, num_views: as mmpretrain's.
        shared_flip: chance that all views are mirrored together, after their own transforms (ReSim, sec. 4.1, whose
            views are mirrored together only: leave RandomFlip out of ``transforms`` for that).

    Added keys, where a view is cut by a crop that records it (``viewplug.RandomResizedCrop``, not the stock crop):
    ``crop_box`` (V, 4) float32, x0, y0, x1, y1 as fractions of the image that MultiView was given, and ``flip`` (V,)
    bool. Crops and horizontal flips in any number and order are composed. If a view has a step that cannot be recorded
    (Rotate, RandomCrop, a vertical flip, one that is not known), ``crop_box`` is a sentence that names it: models that
    need no geometry go on, others stop with it. :class:`viewplug.transforms.view_record.ViewRecord` says what a
    transform of your own has to declare.

    Attributes:
        unknown: that sentence, or None.

    Raises:
        ValueError: a bare name is that of a class of somebody's own, and of another that would be built.
    """

    def __init__(
        self, transforms: Sequence[Sequence], num_views: int | Sequence[int], shared_flip: float = 0.0
    ) -> None:
        _check_names(transforms)
        super().__init__(transforms, num_views)
        if not 0 <= shared_flip <= 1:
            raise ValueError(f'viewplug.MultiView: shared_flip must lie in [0, 1], got {shared_flip}')
        self.shared_flip = shared_flip
        self.unknown: str | None = None
        self._records: list[ViewRecord] = []
        if any(records_crop(pipeline) for pipeline in self.pipelines):
            self._record()

    def transform(self, results: dict) -> dict | None:
        """None if a view's pipeline returns None, by which the data set takes another image."""
        for key in KEYS:  # of flips and crops that all views share, so that they say nothing of one
            results.pop(key, None)
        if self._records:
            made = [record(copy.deepcopy(results)) for record in self._records]
            views, boxes, flips = zip(*made, strict=True)
        else:
            views = [pipeline(copy.deepcopy(results)) for pipeline in self.transforms]
        if any(view is None for view in views):
            return None
        mirrored = bool(self.shared_flip) and np.random.rand() < self.shared_flip
        results['img'] = [np.flip(view['img'], axis=1).copy() if mirrored else view['img'] for view in views]
        results['img_shape'] = [view['img'].shape[:2] for view in views]
        if self._records:
            results['crop_box'], results['flip'] = np.array(boxes, np.float32), np.array(flips) != mirrored
        elif self.unknown:
            results['crop_box'], results['flip'] = self.unknown, np.zeros(len(views), dtype=bool)
        return results

    def _record(self) -> None:
        records = []
        for place, pipeline in enumerate(self.pipelines):
            try:
                records += [ViewRecord(pipeline)] * self.num_views[place]
            except UnrecordedMove as move:
                where = f'train_dataloader.dataset.pipeline, transforms[{place}] of viewplug.MultiView'
                self.unknown = unknown_geometry(where, move)
                return
        self._records = records


def _check_names(steps: Iterable) -> None:
    """Of the steps of views, and of those that steps apply."""
    for step in [steps] if isinstance(steps, dict) else steps:
        if isinstance(step, list | tuple):
            _check_names(step)
        elif isinstance(step, dict) and '_scope_' not in step:
            name = step.get('type')
            if isinstance(name, str) and '.' not in name:
                check_not_hidden(name, TRANSFORMS.parent)
            _check_names(step.get('transforms') or ())
