"""The multiply-accumulates, parameters and windows of a config's training step, counted on its model."""

import copy
import functools
import re
from collections import defaultdict

import torch
from mmengine import Config
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils.flop_counter import FlopCounterMode

from viewplug.batch_views import View
from viewplug.heads import RegionHead
from viewplug.views import ViewGeometry

BATCHES = (32, 256)
PHOTOGRAPH = (375, 500)  # height and width of many of ImageNet's


def count_macs(step, model: nn.Module, cfg: Config, views: list[torch.Tensor]) -> dict:
    """Multiply-accumulates per image, in billions: ``backbone``, ``necks`` and ``heads`` of one online forward;
    ``step``, all of a training step with target and backward; ``region_neck``, its parts; ``heads_at``, the heads
    of one process with other numbers of images.

    Args:
        step: Makes a training step of ``model`` when called.
        cfg: The model's config, whose crop draws the views' boxes.
        views: (N, 3, H, W) each, on the model's device.
    """
    batch = len(views[0])
    found = dict(step=counted(step, batch)[0])
    with torch.no_grad():
        found['backbone'] = counted(lambda: model.backbone(views[0]), batch)[0]
        features = model.backbone(views[0])
        found['necks'] = 0.0
        for branch in model.branches.values():
            total, parts = counted(lambda neck=branch.neck: neck(features), batch)
            found['necks'] += total
            if isinstance(branch.head, RegionHead):
                found['region_neck'] = parts
        embeddings = model.encode(views[0])
    found['heads'] = head_macs(model, cfg, embeddings, batch)
    found['heads_at'] = {number: head_macs(model, cfg, embeddings, number) for number in BATCHES}
    return found


def head_macs(model: nn.Module, cfg: Config, embeddings: dict[str, torch.Tensor], number: int) -> float:
    """Of a batch of ``number`` images, of which only the shapes are needed."""
    total = 0.0
    geometry = draw_geometry(cfg, number, 'cpu')
    for name, branch in model.branches.items():
        head = copy.deepcopy(branch.head).cpu()
        with FakeTensorMode(allow_non_fake_inputs=True), torch.no_grad():
            boxes = ViewGeometry(torch.empty_like(geometry.boxes), torch.empty_like(geometry.flips))
            sides = [torch.empty(number, *embeddings[name].shape[1:]) for _ in range(2)]
            work = functools.partial(head.loss, *sides, geometry=boxes)
            total += counted(work, number)[0]
    return total


def count_parameters(model: nn.Module) -> dict[str, float]:
    """Millions of online parameters."""
    necks = sum(p.numel() for branch in model.branches.values() for p in branch.neck.parameters())
    return dict(backbone=sum(p.numel() for p in model.backbone.parameters()) / 1e6, necks=necks / 1e6)


def count_windows(model: nn.Module, cfg: Config, number: int = 2000) -> float | None:
    """How many windows of an image count, the mean over ``number`` images; None without a region head."""
    heads = [branch.head for branch in model.branches.values() if isinstance(branch.head, RegionHead)]
    geometry = draw_geometry(cfg, number, 'cpu')
    counts = [grid.match(geometry, 0, 1)[2].sum() / number for head in heads for grid in head.grids]
    return float(sum(counts)) if counts else None


def draw_geometry(cfg: Config, number: int, device: str) -> ViewGeometry:
    """Two views each of photographs as the config cuts them, both mirrored or neither."""
    multi_view = next(step for step in cfg.train_dataloader.dataset.pipeline if step.type.endswith('MultiView'))
    crop = View(multi_view.transforms[0]).crop
    generator = torch.Generator().manual_seed(0)
    if hasattr(crop, 'box_store'):  # an object of 0.6 times the sides, anywhere
        corners = 0.4 * torch.rand(number, 2, generator=generator)
        crop.box_store.write(torch.cat([corners, corners + 0.6], dim=1))
    sizes, index = torch.tensor([PHOTOGRAPH]).repeat(number, 1), torch.arange(number)
    boxes = torch.stack([crop.boxes(sizes, generator, index) for _ in range(2)], dim=1)
    flips = (torch.rand(number, 1, generator=generator) < 0.5).expand(-1, 2)
    return ViewGeometry((boxes / torch.tensor(PHOTOGRAPH[::-1] * 2)).float().to(device), flips.to(device))


def counted(work, batch: int) -> tuple[float, dict[str, float]]:
    """Billions of multiply-accumulates per image of a call, and of the lists of modules inside."""
    with FlopCounterMode(display=False) as counter:
        work()
    scale = 2e9 * batch
    parts = defaultdict(float)
    for name, flops in counter.get_flop_counts().items():
        found = re.fullmatch(r'[^.]+\.([a-z_.]+)\.\d+', name)
        if found:
            parts[found.group(1)] += sum(flops.values()) / scale
    return counter.get_total_flops() / scale, dict(parts)
