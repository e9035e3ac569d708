"""SimCLR's comparison: each embedding against everything else in the global batch."""

from __future__ import annotations

import torch
from mmengine.dist import get_rank
from mmengine.model import BaseModule
from torch import Tensor, nn

from viewplug.heads.unit_length import UnitLengthCheck
from viewplug.ops import at_least_float32
from viewplug.ops.gather import gather_rows_with_grad
from viewplug.registry import MODELS


@MODELS.register_module()
class InBatchHead(BaseModule):
    """Contrast with all other views of the batch, over all processes (NT-Xent; SimCLR, arXiv:2002.05709, eq. 1).

    For the pair of views (o, t) the queries are this process's N embeddings of view o. A query's positive is its
    image's view t; its negatives are the views o and t of all other images of the W processes, 2 N W - 2 in number.
    With ``online_views=(0, 1), target_views=(0, 1)``, ``SharedTarget`` and ``pairs='cross'`` the mean over the two
    ordered pairs, which ``viewplug.Siamese`` takes, is NT-Xent over all 2 N W embeddings. With more views (multi-crop)
    it is the mean of the two-view NT-Xent over all pairs of views that the framework compares; views of the same image
    are never negatives of each other.

    Gradients flow through the gathered embeddings: W processes with batch N take the step of one with batch W N (but
    for batch norm). mmpretrain's SimCLR has the same loss, and 1 / W of these gradients.

    The head normalises nothing. Where the neck does not either, a warning says so at the first training step.

    Args:
        loss: config or instance of a loss on (positive (N,), negatives (N, K)) similarities. A similarity of -inf is no
            negative: it stands where the query and its positive were taken out, and must add nothing to the loss.

    Raises:
        ValueError: the two sides differ in shape.
    """

    def __init__(self, loss: dict | nn.Module, init_cfg=None) -> None:
        super().__init__(init_cfg)
        self.loss_module = loss if isinstance(loss, nn.Module) else MODELS.build(loss)
        self.lengths = UnitLengthCheck('InBatchHead')

    def loss(self, online: Tensor, target: Tensor, geometry=None, **extras) -> dict[str, Tensor]:
        """
        Args:
            online: (N, D) embeddings of one view, normalised by the neck. N must be the same on every process.
            target: (N, D) embeddings of another view of the same images, normalised by the neck.

        Returns:
            ``{'loss': scalar}``, the mean over this process's N queries.
        """
        if online.shape != target.shape:
            raise ValueError(
                f'InBatchHead compares two views of the same images, got embeddings of shape {tuple(online.shape)} and '
                f'{tuple(target.shape)}'
            )
        if self.training:
            self.lengths(online, target)
        with torch.autocast(online.device.type, enabled=False):
            online, target, n = at_least_float32(online), at_least_float32(target), len(online)
            positive = (online * target).sum(dim=1)
            everyone = gather_rows_with_grad(torch.cat([target, online]))  # (W * 2 * N, D) in one collective
            negatives = online @ everyone.t()
            taken_out = get_rank() * 2 * n + torch.arange(2 * n, device=online.device).view(2, n).t()
            negatives.scatter_(1, taken_out, float('-inf'))
            return {'loss': self.loss_module(positive, negatives)}
