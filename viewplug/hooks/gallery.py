"""A picture of what the network is trained on, written as training starts."""

from pathlib import Path
from typing import Literal

import numpy as np
from mmengine.dataset import BaseDataset
from mmengine.dist import is_main_process
from mmengine.hooks import Hook
from torch import Tensor

from viewplug.argument_kinds import check_least
from viewplug.config.channel_order import order_drawn
from viewplug.datasets.in_memory import InMemoryDataset
from viewplug.datasets.leaves import leaf_datasets
from viewplug.datasets.whole_images import images_as_loaded
from viewplug.heads import RegionHead
from viewplug.random_states import kept_random_state
from viewplug.registry import HOOKS
from viewplug.unwrapping import unwrapped
from viewplug.views import ViewGeometry
from viewplug.visualization.box_sheet import order_as_loaded
from viewplug.visualization.crop_sheet import draw_crops
from viewplug.visualization.gallery import draw_views, rgb_pixels
from viewplug.visualization.region_sheet import draw_regions


@HOOKS.register_module()
class ViewGalleryHook(Hook):
    """Write the views of the first training batch to ``work_dir/vis_views/epoch_0.png``: rows images, columns views.

    The pixels are caught behind ``model.data_preprocessor``, so they are those that the network got, and de-normalised
    with its ``mean`` and ``std``; without them the contrast is stretched. ``patches``, side by side, are one more
    column. The sheet also goes to ``runner.visualizer`` as image ``vis_views``. After a resume the first file bears the
    number of epochs done.

    Where the views say where they were cut, and the training data are one data set without wrappers,
    ``vis_crops/epoch_0.png`` shows the whole images with the crops' boxes; where a branch compares regions
    (``viewplug.RegionHead``), ``vis_regions/epoch_0.png`` shows the matched windows.

    Args:
        num_images: Rows, at most.
        interval: Epochs between sheets; None writes one only.
        channel_order: Of what the network sees, 'rgb' or 'bgr'; None: as the run's config says.
    """

    def __init__(
        self, num_images: int = 8, interval: int | None = None, channel_order: Literal['rgb', 'bgr'] | None = None
    ) -> None:
        check_least('ViewGalleryHook', 1, num_images=num_images, interval=interval)
        self.num_images = num_images
        self.interval = interval
        self.channel_order = channel_order
        self._drew_first = False
        self._views: list[Tensor] = []
        self._indices: list[int] | None = None
        self._geometry: ViewGeometry | None = None

    def before_train_iter(self, runner, batch_idx: int, data_batch=None) -> None:
        due = self.interval is not None and batch_idx == 0 and runner.epoch % self.interval == 0
        if is_main_process() and (due or not self._drew_first):
            self._handle = _preprocessor(runner).register_forward_hook(self._catch)

    def after_train_iter(self, runner, batch_idx: int, data_batch=None, outputs=None) -> None:
        if not hasattr(self, '_handle'):
            return
        self._handle.remove()
        del self._handle
        self._drew_first = True
        views, self._views = self._views, []
        if not views or any(view.ndim != 4 for view in views):
            shapes = [tuple(view.shape) for view in views]
            runner.logger.warning(
                f'ViewGalleryHook: inputs of shapes {shapes} are no images (N, C, H, W); nothing drawn.'
            )
            return
        preprocessor = _preprocessor(runner)
        mean, std = getattr(preprocessor, 'mean', None), getattr(preprocessor, 'std', None)
        order = order_drawn(runner.cfg, self.channel_order)
        sheet = draw_views(views, mean, std, order, self.num_images)
        path = Path(runner.work_dir, 'vis_views', f'epoch_{runner.epoch}.png')
        path.parent.mkdir(parents=True, exist_ok=True)
        sheet.save(path)
        runner.logger.info(f'Views of {len(views[0])} images as the network sees them: {path}')
        runner.visualizer.add_image('vis_views', np.asarray(sheet), step=runner.epoch)
        self._draw_crops(runner, views)

    def _draw_crops(self, runner, views: list[Tensor]) -> None:
        """Where the views were cut, and the windows that region heads match, if that is known."""
        dataset = runner.train_dataloader.dataset
        leaf = leaf_datasets(dataset)[0]
        alone = leaf is dataset or (isinstance(dataset, InMemoryDataset) and leaf is dataset.dataset)
        if self._geometry is None or self._indices is None or not alone or not isinstance(leaf, BaseDataset):
            return
        with kept_random_state():
            images = images_as_loaded(leaf, self._indices)
        known = _preprocessor(runner), runner.cfg, self.channel_order
        loaded_bgr = order_as_loaded(*known) == 'bgr'
        images = [(image.flip(0) if loaded_bgr else image).float() / 255 for image in images]
        views = [rgb_pixels(view, *known) for view in views]
        sheets = dict(vis_crops=draw_crops(images, views, self._geometry))
        branches = getattr(unwrapped(runner.model), 'branches', None) or {}
        grids = [
            grid for branch in branches.values() if isinstance(branch.head, RegionHead) for grid in branch.head.grids
        ]
        if grids:
            sheets['vis_regions'] = draw_regions(images, views, self._geometry, grids)
        for name, sheet in sheets.items():
            path = Path(runner.work_dir, name, f'epoch_{runner.epoch}.png')
            path.parent.mkdir(parents=True, exist_ok=True)
            sheet.save(path)

    def _catch(self, preprocessor, inputs, output) -> None:
        views = output['inputs']
        views = [views] if isinstance(views, Tensor) else list(views)
        if output.get('patches') is not None:
            views.append(tiled(output['patches'][: self.num_images]))
        self._views = [view[: self.num_images].detach().cpu().clone() for view in views]
        samples = output.get('data_samples') or []
        known = samples and all(sample is not None and 'sample_idx' in sample for sample in samples)
        indices = output.get('sample_idx', [int(sample.sample_idx) for sample in samples] if known else None)
        geometry = output.get('geometry') or ViewGeometry.from_samples(samples)
        self._indices = None if indices is None else [int(index) for index in indices[: self.num_images]]
        self._geometry = geometry and ViewGeometry(
            geometry.boxes[: self.num_images].cpu(), geometry.flips[: self.num_images].cpu()
        )


def tiled(patches: Tensor) -> Tensor:
    """Patches (N, rows, cols, C, p, p) side by side as one image."""
    return patches.permute(0, 3, 1, 4, 2, 5).flatten(4, 5).flatten(2, 3)


def _preprocessor(runner):
    return unwrapped(runner.model).data_preprocessor
