"""Where each view was cut from its image: the one data contract between transforms, heads and hooks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from viewplug.devices import to_device


@dataclass
class ViewGeometry:
    """Crop boxes and flips of a batch of views.

    Attributes:
        boxes: (N, V, 4) float, x0, y0, x1, y1 of each view's crop as fractions of its full image.
        flips: (N, V) bool, whether the view was mirrored left to right after cropping.
        unknown: None, or the sentence with which MultiView says why it could not record where the views were cut;
            ``boxes`` is then (N, 0, 4), and :meth:`require` raises it.
    """

    boxes: Tensor
    flips: Tensor
    unknown: str | None = None

    @classmethod
    def from_samples(cls, data_samples: Sequence, device: torch.device | str = 'cpu') -> ViewGeometry | None:
        """Read ``crop_box`` (V boxes) and ``flip`` (V bools) from the metainfo that ``viewplug.MultiView`` wrote.

        Returns:
            The geometry, ``unknown`` where one of the views' steps could not be recorded, or None if the pipeline
            recorded none (stock MultiView, or a crop that does not say where it cut).
        """
        if not data_samples or any(sample is None or 'crop_box' not in sample for sample in data_samples):
            return None
        unknown = next((sample.crop_box for sample in data_samples if isinstance(sample.crop_box, str)), None)
        found = np.zeros((len(data_samples), 0, 4)) if unknown else np.stack([one.crop_box for one in data_samples])
        boxes = torch.from_numpy(found.astype(np.float32))
        flips = torch.from_numpy(np.stack([sample.flip for sample in data_samples]).astype(bool))
        return cls(to_device(boxes, device), to_device(flips, device), unknown)

    def overlap(self, a: int, b: int) -> Tensor:
        """The rectangle common to views ``a`` and ``b``: (N, 4) image fractions, all zero where they are disjoint."""
        self.require()
        box_a, box_b = self.boxes[:, a], self.boxes[:, b]
        low = torch.maximum(box_a[:, :2], box_b[:, :2])
        high = torch.minimum(box_a[:, 2:], box_b[:, 2:])
        meets = (high > low).all(dim=1, keepdim=True)
        return torch.cat([low, high], dim=1) * meets

    def iou(self, a: int, b: int) -> Tensor:
        """Intersection over union of the crops of views ``a`` and ``b``: (N,) in [0, 1], or -1 if they are unknown."""
        if self.unknown:
            return self.boxes.new_full((len(self.boxes),), -1.0)
        intersection = _area(self.overlap(a, b))
        union = _area(self.boxes[:, a]) + _area(self.boxes[:, b]) - intersection
        return intersection / union.clamp_min(torch.finfo(union.dtype).tiny)

    def map_regions(self, regions: Tensor, src: int, dst: int) -> Tensor:
        """Where regions of view ``src`` lie in view ``dst``, flips of either view included.

        Args:
            regions: (N, K, 4) x0, y0, x1, y1 as fractions of view ``src``.

        Returns:
            (N, K, 4) as fractions of view ``dst``, x0 <= x1; outside [0, 1] where ``dst`` does not see the region.
        """
        self.require()
        return self._from_image(self._to_image(regions, src), dst)

    def require(self) -> None:
        """For what cannot do without boxes.

        Raises:
            ValueError: they are unknown; the sentence names the transform that is the cause.
        """
        if self.unknown:
            raise ValueError(self.unknown)

    def _to_image(self, regions_view: Tensor, view: int) -> Tensor:
        origin, size = self._frame(view)
        return _mirror(regions_view, self.flips[:, view]) * size + origin

    def _from_image(self, regions_image: Tensor, view: int) -> Tensor:
        origin, size = self._frame(view)
        return _mirror((regions_image - origin) / size, self.flips[:, view])

    def _frame(self, view: int) -> tuple[Tensor, Tensor]:
        box = self.boxes[:, view]
        origin = box[:, :2].repeat(1, 2).unsqueeze(1)
        size = (box[:, 2:] - box[:, :2]).clamp_min(1e-6).repeat(1, 2).unsqueeze(1)
        return origin, size


def sample_idx_of(batch: Mapping) -> Tensor | None:
    """Which images of the data set a batch holds, (N,) int64 on the CPU, if its ``sample_idx`` or its ``data_samples``
    say so."""
    if batch.get('sample_idx') is not None:
        return torch.as_tensor(batch['sample_idx']).cpu().flatten()
    samples = batch.get('data_samples') or []
    known = samples and all(sample is not None and 'sample_idx' in sample for sample in samples)
    return torch.tensor([int(sample.sample_idx) for sample in samples]) if known else None


def _mirror(regions: Tensor, flips: Tensor) -> Tensor:
    """Mirror (N, K, 4) unit-frame regions left to right where ``flips`` (N,) is set, keeping x0 <= x1."""
    x0, y0, x1, y1 = regions.unbind(-1)
    mirrored = torch.stack([1 - x1, y0, 1 - x0, y1], dim=-1)
    return torch.where(flips[:, None, None], mirrored, regions)


def _area(boxes: Tensor) -> Tensor:
    return (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
