"""The wide ResNet of CPC version 2."""

from __future__ import annotations

from mmpretrain.models.backbones.resnet import Bottleneck, ResNet

from viewplug.registry import MODELS


@MODELS.register_module()
class ResNet161(ResNet):
    """ResNet-101 with a third stage of 46 blocks, wide, and no fourth (CPC v2, arXiv:1905.09272, sec. 4.1, "MC").

    The third stage's maps have 4096 channels, its bottlenecks 512 (ResNet-101: 23 blocks, 1024 and 256).

    Args:
        third_channels: of the third stage's maps.
        third_expansion: these over those of a bottleneck.
        kwargs: of mmpretrain's ResNet, but ``depth`` and ``num_stages``.
    """

    arch_settings = {161: (Bottleneck, (3, 4, 46))}

    def __init__(
        self,
        third_channels: int = 4096,
        third_expansion: int = 8,
        strides: tuple[int, ...] = (1, 2, 2),
        dilations: tuple[int, ...] = (1, 1, 1),
        out_indices: tuple[int, ...] = (2,),
        **kwargs,
    ) -> None:
        self._third = dict(out_channels=third_channels, expansion=third_expansion)
        self._stages_made = 0
        super().__init__(161, num_stages=3, strides=strides, dilations=dilations, out_indices=out_indices, **kwargs)

    def make_res_layer(self, **kwargs):
        self._stages_made += 1
        return super().make_res_layer(**{**kwargs, **(self._third if self._stages_made == 3 else {})})
