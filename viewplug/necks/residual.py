"""A deep classifier's body on maps that stay as they are."""

from __future__ import annotations

from collections.abc import Sequence

from mmcv.cnn import ConvModule
from mmengine.model import BaseModule, Sequential
from mmpretrain.models.backbones.resnet import BasicBlock
from torch import Tensor

from viewplug.necks.mlp import pooled
from viewplug.registry import MODELS


@MODELS.register_module()
class ResidualNeck(BaseModule):
    """Residual blocks on the backbone's last map, then global average pooling: with a linear head the 'fixed' rows of
    CPC v2's few-label table (arXiv:1905.09272, sec. 3.3: an eleven-block ResNet on the frozen features).

    Args:
        in_channels: channels of that map.
        channels: of the blocks; a 1 x 1 convolution goes before them.
        num_blocks: how many.
    """

    def __init__(self, in_channels: int, channels: int = 512, num_blocks: int = 11, init_cfg=None) -> None:
        super().__init__(init_cfg)
        blocks = [BasicBlock(channels, channels) for _ in range(num_blocks)]
        self.blocks = Sequential(ConvModule(in_channels, channels, 1, norm_cfg=dict(type='BN')), *blocks)
        self.out_channels = channels

    def forward(self, features: Tensor | Sequence[Tensor]) -> tuple[Tensor]:
        """Maps (N, C, H, W), of which the last is used -> a 1-tuple, (N, channels)."""
        return (pooled(self.blocks(features if isinstance(features, Tensor) else features[-1])),)
