"""DINO's projection onto prototypes."""

from __future__ import annotations

from collections.abc import Sequence

from mmengine.model import BaseModule
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.utils import parametrizations

from viewplug.argument_kinds import check_least
from viewplug.backbones.pooling import Features, pooled
from viewplug.necks.mlp import norm_layers
from viewplug.ops import at_least_float32
from viewplug.registry import MODELS


@MODELS.register_module()
class DINONeck(BaseModule):
    """MLP with a bottleneck, L2 normalisation, and a linear layer with weight norm (DINO, arXiv:2104.14294, app. C).

    Its output is logits over prototypes; ``viewplug.DistillHead`` compares them. With the gain of the last layer fixed
    to 1 they are cosines.

    Args:
        in_channels: length of the vectors read; a sequence (one number per map) takes its last. Left out,
            ``viewplug.Siamese`` fills it in from its backbone.
        out_channels: number of prototypes, K; DINO has 65536, iBOT 8192.
        hidden_channels: width of the hidden layers.
        bottleneck_channels: length of the normalised vector before the last layer.
        num_layers: linear layers up to the bottleneck, at least 1.
        norm_cfg: normalisation behind each hidden layer; DINO has none on ViTs and ``dict(type='BN')`` on ResNet-50.
        norm_last_layer: fix the gain of the last layer to 1. DINO lets it learn on ViT-S only, where it is stable.

    Attributes:
        out_channels: K.
        rows_apart: each row's logits are a function of that row alone, which batch norm would change.

    Raises:
        ValueError: a number of layers or channels below 1.
    """

    def __init__(
        self,
        in_channels: int | Sequence[int],
        out_channels: int = 65536,
        hidden_channels: int = 2048,
        bottleneck_channels: int = 256,
        num_layers: int = 3,
        norm_cfg: dict | None = None,
        norm_last_layer: bool = True,
        init_cfg=None,
    ) -> None:
        super().__init__(init_cfg)
        widths = dict(
            hidden_channels=hidden_channels, bottleneck_channels=bottleneck_channels, out_channels=out_channels
        )
        check_least('DINONeck', 1, num_layers=num_layers, **widths)
        in_channels = in_channels if isinstance(in_channels, int) else in_channels[-1]
        widths = [in_channels] + [hidden_channels] * (num_layers - 1)
        layers: list[nn.Module] = []
        for before, after in zip(widths, widths[1:], strict=False):
            layers += [nn.Linear(before, after), *norm_layers(norm_cfg, after), nn.GELU()]
        self.mlp = nn.Sequential(*layers, nn.Linear(widths[-1], bottleneck_channels))
        for layer in self.mlp:
            if isinstance(layer, nn.Linear):
                nn.init.trunc_normal_(layer.weight, std=0.02)
                nn.init.zeros_(layer.bias)
        self.last_layer = parametrizations.weight_norm(nn.Linear(bottleneck_channels, out_channels, bias=False))
        gain = self.last_layer.parametrizations.weight.original0
        nn.init.ones_(gain)
        gain.requires_grad_(not norm_last_layer)
        self.out_channels = out_channels
        self.rows_apart = not any(isinstance(layer, _NormBase) for layer in self.mlp)

    def forward(self, features: Features) -> tuple[Tensor]:
        """
        Args:
            features: what a backbone gives; :func:`viewplug.backbones.pooled` says what of it counts.

        Returns:
            A 1-tuple: (N, out_channels) logits.
        """
        bottleneck = self.mlp(pooled(features))
        return (self.last_layer(F.normalize(at_least_float32(bottleneck), dim=1)),)

    def watched(self, features: Features) -> Tensor:
        """What hooks should look at in place of the logits: the vectors read, (N, C)."""
        return pooled(features).detach()
