"""What benchmarks/growth.py takes the time of: a training step, and heads and a backbone by themselves.

Each function gives two others: the work of ours, and the bare work beside it, which torch does in any case.
"""

from __future__ import annotations

import copy
from collections.abc import Callable

import torch
from torch.nn.functional import normalize

BASE = dict(batch=64, queue=4096, views=2)
DIM, SIZE = 128, 32
ROWS = 16
"""Images of one view of a DINO step."""
IMAGES = 2
"""Of a step of the ViT."""
Steps = tuple[Callable[[], None], Callable[[], None]]


def model_step(device: str, batch: int, queue: int, views: int) -> Steps:
    """One training step, and the network's part of it alone."""
    from viewplug.frameworks import Siamese

    model = Siamese(
        backbone=dict(
            type='mmpretrain.ResNet_CIFAR',
            depth=18,
            stem_channels=8,
            base_channels=8,
            out_indices=(3,),
            style='pytorch',
        ),
        branches=dict(image=dict(neck=dict(type='MLPNeck', out_channels=DIM), head=_head(queue))),
        target=dict(type='MomentumTarget', momentum=0.99, eman=True),
        online_views=tuple(range(views)),
        target_views=(0, 1),
    ).to(device)
    model.train()
    images = [torch.randn(batch, 3, SIZE, SIZE, device=device) for _ in range(views)]
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.01, momentum=0.9)

    def step() -> None:
        losses = model(images, mode='loss')
        optimizer.zero_grad()
        sum(value for key, value in losses.items() if 'loss' in key).backward()
        optimizer.step()

    network = torch.nn.Sequential(copy.deepcopy(model.backbone), copy.deepcopy(model.branches.image.neck))

    def bare() -> None:
        with torch.no_grad():
            network.eval()
            for view in images[:2]:
                network(view)
        network.train()
        sum(_tensor(network(view)).sum() for view in images).backward()

    return step, bare


def head_step(device: str, batch: int, queue: int, views: int) -> Steps:
    """One view compared with another and its keys enqueued, and two matrix products with a softmax."""
    from viewplug.registry import MODELS

    head = MODELS.build(_head(queue)).to(device)
    query, key = (normalize(torch.randn(batch, DIM, device=device), dim=1) for _ in range(2))
    query.requires_grad_()

    def step() -> None:
        head.loss(query, key)['loss'].backward()
        head.update([key])

    def bare() -> None:
        torch.softmax(query.detach() @ head.queue.t(), dim=1) @ head.queue

    return step, bare


def region_step(device: str, regions: int) -> Steps:
    """ReSim-C4's windows against the maps of ``regions`` images, and two products with a softmax, 64 MiB at a time.

    Views of 224 pixels: 36 windows and 144 negatives an image.
    """
    from viewplug.heads.region import RegionHead
    from viewplug.losses.info_nce_of_rows import CHUNK_ELEMENTS
    from viewplug.views import ViewGeometry

    head = RegionHead(feat_dim=DIM).to(device)
    whole = torch.tensor([0.0, 0.0, 1.0, 1.0], device=device).expand(regions, 2, 4)
    geometry = ViewGeometry(whole, torch.zeros(regions, 2, dtype=torch.bool, device=device))
    query, key = (torch.randn(regions, head.grids[0].map_size ** 2, DIM, device=device) for _ in range(2))
    query.requires_grad_()

    def step() -> None:
        query.grad = None
        head.loss(query, key, geometry)['loss'].backward()

    def bare() -> None:
        side = head.grids[0].map_size - head.negative_kernel[0] + 1
        windows = query.detach().flatten(0, 1)[: regions * head.grids[0].count ** 2]
        negatives = key.flatten(0, 1)[: regions * side**2]
        for part in windows.split(max(1, CHUNK_ELEMENTS // len(negatives))):
            torch.softmax(part @ negatives.t(), dim=1) @ negatives

    return step, bare


def prototypes_step(device: str, prototypes: int) -> Steps:
    """Two views projected onto prototypes, compared and the centre moved, and four products with two softmaxes."""
    from viewplug.heads import DistillHead
    from viewplug.necks import DINONeck

    neck = DINONeck(384, prototypes, num_layers=1).to(device)
    target_neck = copy.deepcopy(neck).requires_grad_(False)
    head = DistillHead(feat_dim=prototypes, warmup_epochs=0).to(device)
    views = torch.randn(2, ROWS, 384, device=device)

    def step() -> None:
        neck.zero_grad()
        online = neck(views.flatten(0, 1))[0].split(ROWS)
        target = target_neck(views.flatten(0, 1))[0].split(ROWS)
        losses = head.loss_of_pairs(dict(enumerate(online)), dict(enumerate(target)), [(0, 1), (1, 0)])
        losses['loss'].backward()
        head.update(target)

    def bare() -> None:
        weight = neck.last_layer.parametrizations.weight.original1.detach()
        rows = views.flatten(0, 1)[:, : weight.shape[1]]
        gradient = torch.softmax(rows @ weight.t(), dim=1) - torch.softmax(rows @ weight.t(), dim=1)
        gradient @ weight, gradient.t() @ rows

    return step, bare


def queries_step(device: str, queries: int) -> Steps:
    """ADCLR's ViT with query patches, forward and backward, and plain self-attention among as many tokens.

    ViT-S/16 with two of its twelve blocks, images of 224 pixels: 196 patches.
    """
    from viewplug.backbones import QueryViT

    cross, full = (QueryViT(depth=2, query_attention=kind).to(device).train() for kind in ('cross', 'full'))
    images = torch.randn(IMAGES, 3, 224, 224, device=device)
    patches = torch.randn(IMAGES, queries, 3, 16, 16, device=device)
    direction = torch.randn(cross.embed_dim, device=device)

    def both_ways(vit: QueryViT) -> None:
        vit.zero_grad()
        found = vit(images, patches)
        (torch.cat([found['cls'].unsqueeze(1), found['query']], dim=1) @ direction).sum().backward()

    return lambda: both_ways(cross), lambda: both_ways(full)


def _tensor(output) -> torch.Tensor:
    return output[0] if isinstance(output, tuple | list) else output


def _head(queue: int) -> dict:
    return dict(type='QueueHead', queue_len=queue, feat_dim=DIM, loss=dict(type='InfoNCELoss', temperature=0.2))


STEPS = {
    'step': model_step,
    'head': head_step,
    'RegionHead': region_step,
    'DINO head': prototypes_step,
    'QueryViT': queries_step,
}
