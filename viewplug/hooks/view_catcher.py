"""The heat maps of the training views, caught while the training step makes them."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from viewplug.ops.backbone_heatmaps import HeatmapProbe
from viewplug.views import ViewGeometry


class ViewCatcher:
    """Catches which heat map the backbone made of which view, while a training step runs.

    A forward's input is told by the tensor itself, or, where a model puts the views of a batch together first, by being
    all of them, interleaved (mmpretrain's SimCLR) or one after another.

    Args:
        model: With a ``data_preprocessor`` that gives ``inputs``, a list of views.
        backbone: Whose forwards count.
        heatmap: See :class:`viewplug.ops.backbone_heatmaps.HeatmapProbe`.
    """

    def __init__(self, model: nn.Module, backbone: nn.Module, heatmap: str = 'auto') -> None:
        self._views: list[Tensor] = []
        self._found: dict[int, Tensor] = {}
        self._geometry: tuple[Tensor, ViewGeometry] | None = None
        self._layout: str | None = None
        self._probe = HeatmapProbe(backbone, heatmap, self._catch)
        self._probe.active = False
        self._handle = model.data_preprocessor.register_forward_hook(self._remember)

    @property
    def listens(self) -> bool:
        """Whether the running step is watched; no view is kept while it is not."""
        return self._probe.active

    @listens.setter
    def listens(self, value: bool) -> None:
        self._probe.active = value

    def remove(self) -> None:
        self._probe.remove()
        self._handle.remove()

    def take(self) -> dict[int, Tensor]:
        """View -> (N, h, w), of the step that ended; the catcher stops listening."""
        found, self._found, self._views, self.listens = self._found, {}, [], False
        return found

    def take_geometry(self) -> tuple[Tensor, ViewGeometry] | None:
        """Images and geometry of the step that ended, if the data preprocessor (``viewplug.BatchViews``) knows them."""
        found, self._geometry = self._geometry, None
        if found is not None:
            found[1].require()
        return found

    def _remember(self, preprocessor: nn.Module, inputs, output) -> None:
        if self.listens:
            views = output['inputs']
            self._views = list(views) if isinstance(views, list | tuple) else [views]
            if output.get('geometry') is not None and 'sample_idx' in output:
                self._geometry = output['sample_idx'].cpu(), output['geometry']

    def _catch(self, heatmaps: Tensor, images: Tensor) -> None:
        if not self._views:
            return
        for number, view in enumerate(self._views):
            if view.data_ptr() == images.data_ptr() and view.shape == images.shape:
                self._found[number] = heatmaps
                return
        count, first = len(self._views), self._views[0]
        if len(images) == count * len(first) and all(view.shape == first.shape for view in self._views):
            # Looked at once: comparing pixels makes a GPU wait.
            self._layout = self._layout or self._layout_of(images)
            if self._layout == 'interleaved':
                self._found = dict(enumerate(heatmaps.unflatten(0, (-1, count)).unbind(1)))
            elif self._layout == 'joined':
                self._found = dict(enumerate(heatmaps.unflatten(0, (count, -1)).unbind(0)))

    def _layout_of(self, images: Tensor) -> str:
        if torch.equal(images, torch.stack(self._views, dim=1).flatten(0, 1)):
            return 'interleaved'
        return 'joined' if torch.equal(images, torch.cat(self._views)) else 'unknown'


def geometry_of(data_batch: dict) -> tuple[Tensor, ViewGeometry]:
    """Which images a batch shows, and where their views were cut.

    Raises:
        ValueError: the pipeline does not say.
    """
    samples = data_batch.get('data_samples') if isinstance(data_batch, dict) else None
    geometry = ViewGeometry.from_samples(samples)
    if geometry is None or any('sample_idx' not in sample for sample in samples):
        raise ValueError(
            "LocalizationHook: source='views' needs to know where each view was cut, and mmpretrain's MultiView drops "
            "that: in the train pipeline set MultiView's type='viewplug.MultiView', crop with viewplug's crops, and "
            "give PackInputs meta_keys=('sample_idx', 'crop_box', 'flip'); or set source='forward'"
        )
    geometry.require()
    return torch.tensor([int(sample.sample_idx) for sample in samples]), geometry
