"""Projectors on the globally pooled features."""

from __future__ import annotations

from collections.abc import Sequence

from mmcv.cnn import build_norm_layer
from mmengine.model import BaseModule
from torch import Tensor, nn
from torch.nn import functional as F

from viewplug.argument_kinds import check_least
from viewplug.backbones.pooling import Features, pooled
from viewplug.ops import at_least_float32
from viewplug.registry import MODELS


@MODELS.register_module()
class MLPNeck(BaseModule):
    """Global average pooling and an MLP, then L2 normalisation: every projector here, and on vectors every predictor.

    One layer is MoCo v1's linear projection (arXiv:1911.05722), two are MoCo v2's MLP (arXiv:2003.04297, sec. 2). With
    batch norm between, two are SimCLR's ``g(h)`` (arXiv:2002.05709, sec. 2.1) and BYOL's projector and predictor
    (arXiv:2006.07733, sec. 3.2), three SimSiam's projector (arXiv:2011.10566, sec. 3); ``configs/_base_`` has the
    settings of each.

    Args:
        in_channels: channels of the backbone's last map; a sequence (one number per map) takes its last. Left out,
            ``viewplug.Siamese`` fills it in from its backbone.
        hidden_channels: width of the hidden layers; None takes ``in_channels``.
        out_channels: length of the embedding.
        num_layers: number of linear layers, at least 1.
        normalize: divide each embedding by its L2 norm (in float32). Leave it to the head where that has a predictor.
        norm_cfg: normalisation after each hidden linear layer, ``dict(type='BN')`` or any other of mmcv's; 'BN' is
            batch norm over the N vectors. Over all processes: top-level ``sync_bn='torch'`` in the config.
        last_norm_cfg: the same after the last linear layer; SimSiam's is ``dict(type='BN', affine=False)``.
        bias: whether the hidden linear layers have a bias.
        last_bias: whether the last one has.

    Attributes:
        out_channels: length of the embedding.

    Raises:
        ValueError: a number of layers or channels below 1.
    """

    def __init__(
        self,
        in_channels: int | Sequence[int],
        hidden_channels: int | None = None,
        out_channels: int = 128,
        num_layers: int = 2,
        normalize: bool = True,
        norm_cfg: dict | None = None,
        last_norm_cfg: dict | None = None,
        bias: bool = True,
        last_bias: bool = True,
        init_cfg=None,
    ) -> None:
        super().__init__(init_cfg)
        check_least('MLPNeck', 1, num_layers=num_layers, hidden_channels=hidden_channels, out_channels=out_channels)
        in_channels = in_channels if isinstance(in_channels, int) else in_channels[-1]
        hidden_channels = hidden_channels or in_channels
        widths = [in_channels] + [hidden_channels] * (num_layers - 1)
        layers: list[nn.Module] = []
        for before, after in zip(widths, widths[1:], strict=False):
            layers += [nn.Linear(before, after, bias), *norm_layers(norm_cfg, after), nn.ReLU(inplace=True)]
        layers += [nn.Linear(widths[-1], out_channels, last_bias), *norm_layers(last_norm_cfg, out_channels)]
        self.mlp = nn.Sequential(*layers)
        self.out_channels = out_channels
        self.normalize = normalize

    def forward(self, features: Features) -> tuple[Tensor]:
        """
        Args:
            features: what a backbone gives; :func:`viewplug.backbones.pooled` says what of it counts.

        Returns:
            A 1-tuple, as mmpretrain's necks: the (N, out_channels) embedding.
        """
        embedding = self.mlp(pooled(features))
        return (F.normalize(at_least_float32(embedding), dim=1) if self.normalize else embedding,)


def norm_layers(cfg: dict | None, channels: int) -> list[nn.Module]:
    """Zero or one layer. mmcv's 'BN' is for maps, but here are vectors."""
    if not cfg:
        return []
    return [build_norm_layer({**cfg, 'type': 'BN1d'} if cfg['type'] == 'BN' else dict(cfg), channels)[1]]
