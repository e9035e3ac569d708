"""The same losses from each library: name -> what makes a function (online (N, D), target (N, D)) -> scalar."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize
from torch.nn.utils import parametrize

Loss = Callable[[Tensor, Tensor], Tensor]
Makers = dict[str, Callable[[], Loss]]

TEMPERATURE = 0.2


def queue(queue_len: int, dim: int, device: str) -> Makers:
    """MoCo's: each query against its key and the queue, which then takes the keys up."""

    def rows() -> Tensor:
        return normalize(torch.randn(queue_len, dim, generator=torch.Generator().manual_seed(1)), dim=1)

    def viewplug() -> Loss:
        from viewplug.heads import QueueHead
        from viewplug.losses import InfoNCELoss

        head = QueueHead(InfoNCELoss(TEMPERATURE), queue_len, dim)
        head.queue.copy_(rows())
        head.to(device)

        def loss(online: Tensor, target: Tensor) -> Tensor:
            online, target = normalize(online, dim=1), normalize(target, dim=1)
            found = head.loss(online, target)['loss']
            head.update([target])
            return found

        return loss

    def mmpretrain() -> Loss:
        return _StockQueue(rows().to(device))

    def lightly() -> Loss:
        from lightly.loss import NTXentLoss

        loss = NTXentLoss(TEMPERATURE, memory_bank_size=(queue_len, dim))
        loss.memory_bank.bank.copy_(rows())
        return loss.to(device)

    return dict(viewplug=viewplug, mmpretrain=mmpretrain, lightly=lightly)


class _StockQueue:
    """What is left of mmpretrain's MoCo without its networks and its shuffling: its head, and its queue (D, K)."""

    def __init__(self, rows: Tensor) -> None:
        from mmpretrain.models.heads import ContrastiveHead

        self.head = ContrastiveHead(dict(type='CrossEntropyLoss'), temperature=TEMPERATURE)
        self.queue, self.pointer = rows.t().contiguous(), 0

    def __call__(self, online: Tensor, target: Tensor) -> Tensor:
        online, target = normalize(online, dim=1), normalize(target, dim=1)
        positive = torch.einsum('nd,nd->n', online, target)[:, None]
        negatives = torch.einsum('nd,dk->nk', online, self.queue.clone())
        loss = self.head.loss(positive, negatives)
        stop = self.pointer + len(target)
        self.queue[:, self.pointer : stop] = target.t()
        self.pointer = stop % self.queue.shape[1]
        return loss


def in_batch() -> Makers:
    """SimCLR's NT-Xent over both views of all images."""

    def viewplug() -> Loss:
        from viewplug.heads import InBatchHead
        from viewplug.losses import InfoNCELoss

        head = InBatchHead(InfoNCELoss(TEMPERATURE))

        def loss(online: Tensor, target: Tensor) -> Tensor:
            online, target = normalize(online, dim=1), normalize(target, dim=1)
            both = [head.loss(a, b)['loss'] for a, b in ((online, target), (target, online))]
            return torch.stack(both).mean()

        return loss

    def mmpretrain() -> Loss:
        from mmpretrain.models.selfsup import SimCLR

        head = dict(type='ContrastiveHead', loss=dict(type='CrossEntropyLoss'), temperature=TEMPERATURE)
        model = SimCLR(backbone=nn.Identity(), neck=_Flat(), head=head)
        # Its loss stacks the views of images: embeddings stand in for images of one pixel.
        return lambda online, target: model.loss([z[:, :, None, None] for z in (online, target)], None)['loss']

    def lightly() -> Loss:
        from lightly.loss import NTXentLoss

        return NTXentLoss(TEMPERATURE)

    return dict(viewplug=viewplug, mmpretrain=mmpretrain, lightly=lightly)


class _Flat(nn.Module):
    """(N, D, 1, 1) -> ((N, D),)."""

    def forward(self, x: Tensor) -> tuple[Tensor]:
        return (x.flatten(1),)


def cosine() -> Makers:
    """Of BYOL and SimSiam: the negative cosine of prediction and target."""

    def viewplug() -> Loss:
        from viewplug.losses import CosineLoss

        return CosineLoss()

    def mmpretrain() -> Loss:
        from mmpretrain.models.losses import CosineSimilarityLoss

        return CosineSimilarityLoss()

    def lightly() -> Loss:
        from lightly.loss import NegativeCosineSimilarity

        return NegativeCosineSimilarity()

    return dict(viewplug=viewplug, mmpretrain=mmpretrain, lightly=lightly)


VIEWS, GLOBALS = 10, 2
PAIRS = [(online, target) for target in range(GLOBALS) for online in range(VIEWS) if online != target]


def dino(dim: int, prototypes: int, device: str) -> Makers:
    """DINO's projections (three layers, weight-normed prototypes) on both sides, its loss and the centre's update."""

    def viewplug() -> Loss:
        from viewplug.heads import DistillHead
        from viewplug.necks import DINONeck

        projections = [DINONeck(dim, prototypes) for _ in range(2)]
        _start([list(neck.mlp) for neck in projections], [neck.last_layer for neck in projections])
        online_neck, target_neck = (neck.to(device) for neck in projections)
        head = DistillHead(feat_dim=prototypes, warmup_epochs=0).to(device)

        def loss(online: Tensor, target: Tensor) -> Tensor:
            with parametrize.cached():  # as Siamese, which gives all rows to the neck at once
                views = online_neck(online)[0].chunk(VIEWS)
            with torch.no_grad():
                targets = target_neck(target)[0].chunk(GLOBALS)
            found = head.loss_of_pairs(dict(enumerate(views)), dict(enumerate(targets)), PAIRS)['loss']
            head.update(targets)
            return found

        return loss

    def lightly() -> Loss:
        from lightly.loss import DINOLoss
        from lightly.models.modules.heads import DINOProjectionHead

        projections = [DINOProjectionHead(dim, output_dim=prototypes) for _ in range(2)]
        _start([list(head.layers) for head in projections], [head.last_layer for head in projections])
        online_head, target_head = (head.to(device) for head in projections)
        criterion = DINOLoss(prototypes, teacher_temp=0.07, warmup_teacher_temp_epochs=0).to(device)

        def loss(online: Tensor, target: Tensor) -> Tensor:
            views = _in_views(online, online_head)
            with torch.no_grad():
                targets = target_head(target).chunk(GLOBALS)
            return criterion(list(targets), views, teacher_temp=0.07)

        return loss

    return dict(viewplug=viewplug, lightly=lightly)


def ibot(masks: Tensor, prototypes: int, device: str) -> Makers:
    """iBOT's loss of masked patches and its centre's update: logits (masked patches of all images, K) of both sides.

    Args:
        masks: (N, h, w) bool.
    """

    def viewplug() -> Loss:
        from viewplug.heads import PatchDistillHead

        head = PatchDistillHead(feat_dim=prototypes, warmup_epochs=0).to(device)
        of_view = masks[:, None].to(device)

        def loss(online: Tensor, target: Tensor) -> Tensor:
            found = head.loss_of_pairs({0: online}, {0: target}, [(0, 0)], masks=of_view)['loss']
            head.update([target])
            return found

        return loss

    def lightly() -> Loss:
        from lightly.loss import IBOTPatchLoss

        criterion, chosen = IBOTPatchLoss(prototypes, teacher_temp=0.07).to(device), masks.to(device)
        return lambda online, target: criterion(target, online, chosen)

    return dict(viewplug=viewplug, lightly=lightly)


def _in_views(online: Tensor, project: Callable[[Tensor], Tensor]) -> list[Tensor]:
    """Logits view by view, projected by resolution: the global views together, and the local ones, which have been
    through the backbone apart."""
    counts, rows = (GLOBALS, VIEWS - GLOBALS), len(online) // VIEWS
    parts = online.split([count * rows for count in counts])
    return [view for part, count in zip(parts, counts, strict=True) for view in project(part).chunk(count)]


@torch.no_grad()
def _start(layers: list[list[nn.Module]], last_layers: list[nn.Module]) -> None:
    """The same weights for everybody, the target's others than the online network's."""
    for place, (own, last) in enumerate(zip(layers, last_layers, strict=True)):
        random = torch.Generator().manual_seed(place)
        for layer in own:
            if isinstance(layer, nn.Linear):
                layer.weight.copy_(0.05 * torch.randn(layer.weight.shape, generator=random))
        rows = next(p for p in last.parameters() if p.shape[-1] > 1)
        rows.copy_(torch.randn(rows.shape, generator=random))
