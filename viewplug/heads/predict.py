"""BYOL's and SimSiam's comparison: predict the target's embedding of one view from the online embedding of another."""

from __future__ import annotations

from mmengine.model import BaseModule
from torch import Tensor, nn

from viewplug.encoding import unpacked
from viewplug.registry import MODELS


@MODELS.register_module()
class PredictHead(BaseModule):
    """A predictor on the online side, no gradient on the target side, and the distance of the two.

    BYOL (arXiv:2006.07733, sec. 3.1) and SimSiam (arXiv:2011.10566, algorithm 1). Both are symmetric:
    ``online_views=(0, 1), target_views=(0, 1)`` compares each view's prediction with the other view's target. The
    predictor belongs to the head, so a momentum target has none. Neither side is normalised before: the neck has
    ``normalize=False``, the loss normalises the prediction and the target.

    ``viewplug.Siamese`` takes the mean of the two directions. That is SimSiam's loss (and mmpretrain's); BYOL's is
    their sum: give its branch ``weight=2.0``. mmpretrain's BYOL has the same gradient, and with its default
    CosineSimilarityLoss a value that is 4 lower.

    Args:
        predictor: config or instance of a module on (N, D), e.g. ``viewplug.MLPNeck`` or mmpretrain's NonLinearNeck.
            ``in_channels`` and ``out_channels`` that a config leaves out are ``feat_dim``.
        loss: config or instance of a loss on (prediction, target); default SimSiam's negative cosine.
        feat_dim: length of an embedding, D. Left out, ``viewplug.Siamese`` fills it in from the neck.

    Raises:
        ValueError: the predictor's ``in_channels`` or ``out_channels`` is not D, or nobody gives D.
    """

    def __init__(
        self,
        predictor: dict | nn.Module,
        loss: dict | nn.Module | None = None,
        feat_dim: int | None = None,
        init_cfg=None,
    ) -> None:
        super().__init__(init_cfg)
        if isinstance(predictor, dict):
            predictor = MODELS.build(_with_widths(predictor, feat_dim))
        self.predictor = predictor
        loss = loss or dict(type='viewplug.CosineLoss')
        self.loss_module = loss if isinstance(loss, nn.Module) else MODELS.build(loss)
        self.feat_dim = feat_dim

    def loss(self, online: Tensor, target: Tensor, geometry=None, **extras) -> dict[str, Tensor]:
        """
        Args:
            online: (N, D) projections of one view, not normalised.
            target: (N, D) projections of another view of the same images; its gradient is stopped here.

        Returns:
            ``{'loss': scalar}``.
        """
        prediction = unpacked(self.predictor((online,)))
        return {'loss': self.loss_module(prediction, target.detach())}


def _with_widths(predictor: dict, feat_dim: int | None) -> dict:
    predictor = dict(predictor)
    for key in ('in_channels', 'out_channels'):
        if feat_dim is None and key not in predictor:
            raise ValueError(f"PredictHead needs feat_dim, the length of the neck's embedding, or predictor.{key}")
        if feat_dim is not None and predictor.setdefault(key, feat_dim) != feat_dim:
            raise ValueError(
                f'PredictHead: predictor.{key}={predictor[key]}, but the embeddings to predict have length '
                f'{feat_dim}; leave it out or set it to {feat_dim}'
            )
    return predictor
