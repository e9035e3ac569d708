"""Projectors on the globally pooled features."""

from __future__ import annotations

from collections.abc import Sequence

from mmengine.model import BaseModule
from torch import Tensor, nn
from torch.nn import functional as F

from viewplug.ops import at_least_float32
from viewplug.registry import MODELS


@MODELS.register_module()
class MLPNeck(BaseModule):
    """Global average pooling and an MLP, then L2 normalisation.

    One layer is MoCo v1's linear projection (arXiv:1911.05722), two layers are MoCo v2's and SimCLR's
    ``g(h)`` (arXiv:2003.04297, sec. 2; arXiv:2002.05709, sec. 2.1).

    Args:
        in_channels: channels of the backbone's last map; a sequence (one number per map) takes its last. Left out,
            ``viewplug.Siamese`` fills it in from its backbone.
        hidden_channels: width of the hidden layers; None takes ``in_channels``.
        out_channels: length of the embedding.
        num_layers: number of linear layers, at least 1.
        normalize: divide each embedding by its L2 norm (in float32).

    Attributes:
        out_channels: length of the embedding.
    """

    def __init__(
        self,
        in_channels: int | Sequence[int],
        hidden_channels: int | None = None,
        out_channels: int = 128,
        num_layers: int = 2,
        normalize: bool = True,
        init_cfg=None,
    ) -> None:
        super().__init__(init_cfg)
        if num_layers < 1:
            raise ValueError(f'MLPNeck: num_layers must be at least 1, got {num_layers}')
        in_channels = in_channels if isinstance(in_channels, int) else in_channels[-1]
        hidden_channels = hidden_channels or in_channels
        widths = [in_channels] + [hidden_channels] * (num_layers - 1)
        layers: list[nn.Module] = []
        for before, after in zip(widths, widths[1:], strict=False):
            layers += [nn.Linear(before, after), nn.ReLU(inplace=True)]
        layers.append(nn.Linear(widths[-1], out_channels))
        self.mlp = nn.Sequential(*layers)
        self.out_channels = out_channels
        self.normalize = normalize

    def forward(self, features: Tensor | Sequence[Tensor]) -> tuple[Tensor]:
        """
        Args:
            features: the backbone's maps (N, C, H, W), of which the last is used, or one (N, C) vector.

        Returns:
            A 1-tuple, as mmpretrain's necks: the (N, out_channels) embedding.
        """
        embedding = self.mlp(pooled(features))
        return (F.normalize(at_least_float32(embedding), dim=1) if self.normalize else embedding,)


def pooled(features: Tensor | Sequence[Tensor]) -> Tensor:
    """The last of a backbone's outputs as one vector an image: (N, C, H, W) is averaged, (N, C) is taken as it is."""
    last = features if isinstance(features, Tensor) else features[-1]
    return last.mean(dim=(2, 3)) if last.dim() == 4 else last
