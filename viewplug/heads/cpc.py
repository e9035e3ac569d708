"""CPC's comparison: the patch that was predicted, against all other patches."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from mmengine.dist import get_rank
from mmengine.model import BaseModule, ModuleDict, ModuleList
from torch import Tensor, nn
from torch.nn import functional as F

from viewplug.losses import InfoNCELoss
from viewplug.losses.info_nce import info_nce
from viewplug.losses.info_nce_of_rows import weighted_info_nce
from viewplug.necks.masked_conv import DIRECTIONS, toward
from viewplug.ops import at_least_float32
from viewplug.ops.gather import gather_rows_with_grad
from viewplug.registry import MODELS


@MODELS.register_module()
class CPCHead(BaseModule):
    r"""Predict the patches k rows ahead and find each among the others (CPC v2, arXiv:1905.09272, eq. 1 and 2).

    .. math:: -\log\frac{e^{\hat z_{i+k,j}^T z_{i+k,j}/T}}{e^{\hat z_{i+k,j}^T z_{i+k,j}/T} + \sum_l e^{\hat
        z_{i+k,j}^T z_l/T}}, \quad \hat z_{i+k,j} = W_k c_{i,j}

    The negatives :math:`z_l` are all patches of the batch, of all processes, but the target itself, which is never
    among them; patches of the same image are. The loss is the mean over the predictions of an offset k and a
    direction, and the mean over offsets and directions (the paper's is their sum), so that one learning rate serves any
    number of them. With ``negatives='batch'`` similarities exist for a few predictions at a time; memory does not grow
    with their number.

    W processes with N images each have the loss and gradients of one with W N (but for batch norm).

    Args:
        in_channels: length of a patch's vector, and of a context. ``viewplug.CPC`` fills it in from its backbone.
        offsets: the k, rows ahead, each with a linear map of its own.
        directions: of the predictions, 'down', 'up', 'right' or 'left'. ``viewplug.CPC`` fills them in.
        target_dim: patches are compared as linear maps of their vectors to this length (version 2: 64); None: the
            vectors themselves (version 1).
        normalize: divide predictions and targets by their lengths. The papers do not.
        negatives: 'batch' as above, or 'image': the other patches of the target's image only.
        loss: config or instance of ``viewplug.InfoNCELoss``. Version 1 is ``temperature=1``, the default; version 2
            scales its predictions by 0.1, which is ``temperature=10``.

    Raises:
        ValueError: an offset below 1 or named twice, a ``target_dim`` below 1, an unknown direction, 'negatives' or
            loss; at a batch, a grid of too few rows.
    """

    def __init__(
        self,
        in_channels: int,
        offsets: Sequence[int] = (1, 2, 3, 4, 5),
        directions: Sequence[str] = ('down',),
        target_dim: int | None = None,
        normalize: bool = False,
        negatives: Literal['batch', 'image'] = 'batch',
        loss: dict | nn.Module | None = None,
        init_cfg=None,
    ) -> None:
        super().__init__(init_cfg)
        if not offsets or min(offsets) < 1 or len(set(offsets)) < len(offsets):
            raise ValueError(f'CPCHead: offsets must be whole numbers, each once and at least 1, got {tuple(offsets)}')
        if target_dim is not None and target_dim < 1:
            raise ValueError(f'CPCHead: target_dim must be None or at least 1, got {target_dim}')
        check_directions('CPCHead', directions)
        loss = loss or dict(type='viewplug.InfoNCELoss', temperature=1.0)
        self.loss_module = loss if isinstance(loss, nn.Module) else MODELS.build(loss)
        if type(self.loss_module).forward is not InfoNCELoss.forward:  # another would not be called
            raise ValueError(
                'CPCHead: loss must be viewplug.InfoNCELoss itself, of which it takes the temperature, '
                f'got {type(self.loss_module).__name__}'
            )
        self.offsets, self.normalize, self.negatives = tuple(offsets), normalize, negatives
        width = target_dim or in_channels
        # A bias would add the same to a prediction's similarity with every patch, and the softmax would take it out.
        self.target = nn.Linear(in_channels, target_dim, bias=False) if target_dim else nn.Identity()
        self.predictors = ModuleDict(
            {
                direction: ModuleList([nn.Linear(in_channels, width, bias=False) for _ in self.offsets])
                for direction in directions
            }
        )

    def loss(self, online: dict[str, Tensor], target: Tensor, geometry=None, **extras) -> dict[str, Tensor]:
        """
        Args:
            online: direction -> (N, D, rows, cols) contexts, turned by ``viewplug.necks.masked_conv.toward``.
            target: (N, D, rows, cols) vectors of the patches, not turned. N must be the same on every process.

        Returns:
            ``{'loss': scalar}``, float32 or wider.
        """
        places = torch.arange(target.shape[2] * target.shape[3], device=target.device).view(target.shape[2:])
        targets = self._rows(self.target(target.flatten(2).transpose(1, 2)))  # (N, rows * cols, d)
        candidates = gather_rows_with_grad(targets) if self.negatives == 'batch' else targets
        losses = []
        for direction, predictors in self.predictors.items():
            turned = toward(places, direction)
            for offset, predictor in zip(self.offsets, predictors, strict=True):
                if offset >= len(turned):
                    raise ValueError(
                        f'CPCHead: offsets={self.offsets} reach beyond the grid of {tuple(target.shape[2:])} patches, '
                        f'which has {len(turned)} from end to end in direction {direction!r}'
                    )
                predicted = self._rows(predictor(online[direction][:, :, :-offset].flatten(2).transpose(1, 2)))
                losses.append(self._contrast(predicted, targets, candidates, turned[offset:].flatten()))
        return {'loss': torch.stack(losses).mean()}

    def _contrast(self, predicted: Tensor, targets: Tensor, candidates: Tensor, places: Tensor) -> Tensor:
        """The mean over (N, P, d) predictions, whose targets are at ``places`` (P,) of (N, rows * cols, d)."""
        images, patches, _ = targets.shape
        temperature = self.loss_module.temperature
        with torch.autocast(predicted.device.type, enabled=False):
            positives = targets[:, places]
            if self.negatives == 'image':
                similarities = predicted @ targets.transpose(1, 2)  # (N, P, rows * cols)
                own = places.view(1, -1, 1).expand(images, -1, 1)
                similarities = similarities.scatter(2, own, float('-inf')).flatten(0, 1)
                return info_nce((predicted * positives).sum(dim=2).flatten(), similarities, temperature).mean()
            first = (get_rank() * images + torch.arange(images, device=places.device)) * patches
            own = (first.unsqueeze(1) + places).flatten()
            weights = predicted.new_full((len(own),), 1 / len(own))
            rows = (x.flatten(0, 1) for x in (predicted, positives, candidates))
            return weighted_info_nce(*rows, weights, temperature, excluded=own)

    def _rows(self, vectors: Tensor) -> Tensor:
        vectors = at_least_float32(vectors)
        return F.normalize(vectors, dim=-1) if self.normalize else vectors


def check_directions(who: str, directions: Sequence[str]) -> None:
    if not directions or set(directions) - set(DIRECTIONS) or len(set(directions)) != len(directions):
        raise ValueError(
            f'{who}: directions must be some of {", ".join(DIRECTIONS)}, each once, got {tuple(directions)}'
        )
