"""A feature pyramid on a plain vision transformer."""

from __future__ import annotations

from collections.abc import Sequence

from mmcv.cnn import build_norm_layer
from mmengine.model import BaseModule
from torch import Tensor, nn

from viewplug.registry import MODELS


@MODELS.register_module()
class ViTFPN(BaseModule):
    """Four maps of a ViT, all of stride 16, brought to strides 4, 8, 16, 32 and fused by mmdet's FPN.

    The form in which iBOT and SelfPatch evaluate ViTs on COCO: two transposed convolutions, one, none, max-pooling
    (mmseg has the same as ``Feature2Pyramid``). The FPN lies under ``fpn.`` with mmdet's parameter names.

    Args:
        in_channels: of the ViT, the same for the four maps.
        out_channels: of every level of the FPN.
        num_outs: levels; those beyond four are made by pooling.
        norm_cfg: of the first rescaling and of the FPN's convolutions.
        init_cfg: mmengine's.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int = 256,
        num_outs: int = 5,
        norm_cfg: dict | None = None,
        init_cfg: dict | list | None = None,
    ) -> None:
        super().__init__(init_cfg)
        norm_cfg = dict(norm_cfg or dict(type='SyncBN', requires_grad=True))
        self.up4 = nn.Sequential(
            nn.ConvTranspose2d(in_channels, in_channels, 2, stride=2),
            build_norm_layer(norm_cfg, in_channels)[1],
            nn.GELU(),
            nn.ConvTranspose2d(in_channels, in_channels, 2, stride=2),
        )
        self.up2 = nn.ConvTranspose2d(in_channels, in_channels, 2, stride=2)
        self.down2 = nn.MaxPool2d(2)
        self.fpn = MODELS.build(
            dict(
                type='mmdet.FPN',
                in_channels=[in_channels] * 4,
                out_channels=out_channels,
                num_outs=num_outs,
                norm_cfg=norm_cfg,
            )
        )

    def forward(self, maps: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Four maps (N, C, H/16, W/16) to ``num_outs`` of ``out_channels`` with strides 4, 8, 16, 32, 64."""
        if len(maps) != 4:
            raise ValueError(f'ViTFPN takes four maps of the backbone (out_indices), got {len(maps)}')
        fine, second, third, coarse = maps
        return self.fpn((self.up4(fine), self.up2(second), third, self.down2(coarse)))
