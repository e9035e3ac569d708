"""Where a network sees the object: heat maps and boxes of whole images (ContrastiveCrop, sec. 3.2)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from viewplug.devices import to_device
from viewplug.ops.backbone_heatmaps import HeatmapProbe
from viewplug.ops.heatmap_boxes import HeatmapBoxes, check_threshold, localise

TARGETS = ('encoder_k', 'target_net', 'momentum_encoder')


@dataclass
class LocalisedBatch:
    """Attributes:
    images: (N, C, H, W) uint8, as they were given.
    heatmaps: (N, h, w) float32, neither normalised nor up-sampled.
    found: their boxes; that of an image that could not be read is the whole image, and its map does not count as dead.
    readable: (N,) bool, the image could be read; where ``found`` is.
    """

    images: Tensor
    heatmaps: Tensor
    found: HeatmapBoxes
    readable: Tensor


@torch.no_grad()
def localise_batches(
    model: nn.Module,
    batches: Iterable[tuple[Tensor, Tensor]],
    threshold: float = 0.1,
    adaptive: float | str | None = None,
    heatmap: str = 'auto',
    backbone: nn.Module | None = None,
    autocast: Callable[[], AbstractContextManager] = nullcontext,
) -> Iterator[LocalisedBatch]:
    """One forward a batch in evaluation mode; training modes are as they were whenever the caller has control.

    Args:
        model: With a ``backbone`` and, if images need normalising, a ``data_preprocessor``.
        batches: Of ``viewplug.datasets.WholeImages``: (N, C, H, W) uint8, and (N,) bool, the image could be read.
        threshold, adaptive: See :func:`viewplug.ops.heatmap_boxes.localise`.
        heatmap: See :class:`viewplug.ops.backbone_heatmaps.HeatmapProbe`.
        backbone: Another one than ``model.backbone``, e.g. of :func:`encoder_of`.
        autocast: Makes the context that the forward runs in.

    Raises:
        ValueError: a threshold out of its range, or a heat map that the backbone cannot give.
    """
    check_threshold(threshold, adaptive)
    backbone = model.backbone if backbone is None else backbone
    preprocess = getattr(model, 'data_preprocessor', None)
    device = next(backbone.parameters()).device
    for images, readable in batches:
        caught: list[Tensor] = []
        with evaluating(model, backbone), HeatmapProbe(backbone, heatmap, lambda map_, _, to=caught: to.append(map_)):
            inputs = images.float()
            if preprocess is not None:
                inputs = preprocess(dict(inputs=images, data_samples=None), False)['inputs']
            inputs = (inputs[0] if isinstance(inputs, list | tuple) else inputs).to(device)
            with autocast():
                backbone(inputs)
        found = localise(caught[0], tuple(images.shape[-2:]), threshold, adaptive)
        readable = to_device(readable, found.boxes.device)
        found = HeatmapBoxes(found.dead_where(~readable).boxes, found.dead & readable)
        yield LocalisedBatch(images, caught[0], found, readable)


def encoder_of(model: nn.Module, which: str) -> nn.Module:
    """The backbone of the online or the target (momentum) encoder of a model of viewplug or mmpretrain.

    Raises:
        ValueError: another name, or a model that has no such backbone.
    """
    if which == 'online':
        if not isinstance(getattr(model, 'backbone', None), nn.Module):
            raise ValueError(f'localisation reads model.backbone, and {type(model).__name__} has none')
        return model.backbone
    if which != 'target':
        raise ValueError(f"encoder must be 'online' or 'target', got {which!r}")
    backbone = getattr(getattr(model, 'target', None), 'backbone', None)
    for name in TARGETS:  # mmpretrain averages nn.Sequential(backbone, neck)
        averaged = getattr(getattr(model, name, None), 'module', None)
        if backbone is None and isinstance(averaged, nn.Sequential):
            backbone = averaged[0]
    if backbone is None:
        raise ValueError(
            f"encoder='target' needs a momentum copy of the backbone, and {type(model).__name__} has none; "
            "set encoder='online'"
        )
    return backbone


@contextmanager
def evaluating(*modules: nn.Module):
    """Evaluation mode for a while; every submodule gets its own mode back."""
    modes = {module: module.training for root in modules for module in root.modules()}
    try:
        for module in modules:
            module.eval()
        yield
    finally:
        for module, mode in modes.items():
            module.training = mode
