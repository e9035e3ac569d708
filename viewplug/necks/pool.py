"""No projector at all."""

from __future__ import annotations

from collections.abc import Sequence

from mmengine.model import BaseModule
from torch import Tensor
from torch.nn import functional as F

from viewplug.necks.mlp import pooled
from viewplug.ops import at_least_float32
from viewplug.registry import MODELS


@MODELS.register_module()
class PoolNeck(BaseModule):
    """The representation h itself, L2-normalised: the row 'none' among SimCLR's projection heads (arXiv:2002.05709,
    fig. 8).

    Args:
        in_channels: channels of the backbone's last map; a sequence (one number per map) takes its last. Left out,
            ``viewplug.Siamese`` fills it in from its backbone.
        normalize: divide each embedding by its L2 norm (in float32).

    Attributes:
        out_channels: length of the embedding, ``in_channels``.
    """

    def __init__(self, in_channels: int | Sequence[int], normalize: bool = True, init_cfg=None) -> None:
        super().__init__(init_cfg)
        self.out_channels = in_channels if isinstance(in_channels, int) else in_channels[-1]
        self.normalize = normalize

    def forward(self, features: Tensor | Sequence[Tensor]) -> tuple[Tensor]:
        """The backbone's maps (N, C, H, W), of which the last is used, or one (N, C) vector -> a 1-tuple, (N, C)."""
        embedding = pooled(features)
        return (F.normalize(at_least_float32(embedding), dim=1) if self.normalize else embedding,)
