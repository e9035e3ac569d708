"""HCL's neck: a semantic and a spatial embedding, concatenated."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from mmengine.model import BaseModule
from torch import Tensor, nn
from torch.nn import functional as F

from viewplug.argument_kinds import check_least
from viewplug.backbones.layout import NO_MAPS, all_maps
from viewplug.necks.mlp import MLPNeck
from viewplug.ops import at_least_float32
from viewplug.registry import MODELS


@MODELS.register_module()
class HCLNeck(BaseModule):
    """Heterogeneous contrastive learning (HCL, sec. 3.3 and fig. 3).

    The semantic half is MoCo v2's MLP on the pooled last map, the spatial half a single-channel map that a small
    feature pyramid reads off C2..C5. Each half is L2-normalised, so the dot product of two embeddings is the SUM of two
    cosines, in [-2, 2]. Inside a framework that normalises the concatenation once more (mmpretrain's MoCo) that becomes
    their mean: halve the temperature there.

    Args:
        in_channels: channels of the backbone's maps, fine to coarse. Left out, ``viewplug.Siamese`` fills it in.
        in_strides: their strides in pixels. Likewise.
        semantic_channels: length of the semantic half (128 in the paper).
        hidden_channels: width of the semantic MLP's hidden layer; None takes the last map's channels.
        input_size: side of the training views in pixels; fixes the length of the spatial half.
        map_stride: stride of the single-channel map; 16 is 14 x 14 = 196 at 224 pixels.
        fusion_stride: stride at which the levels are summed. None is ``map_stride`` (the paper's modified FPN); 4 is
            the vanilla FPN of sec. 4.3.2, fused at 56 x 56 and pooled to 14 x 14 at the end.
        lateral_channels: channels of the pyramid (not in the paper; 256 is FPN's). They cost parameters, not time.

    Attributes:
        out_channels: length of the embedding, 324 = 128 + 196 at 224 pixels.
        parts: name of each half -> where it lies in the embedding.

    Raises:
        ValueError: no semantic channel, a stride that the backbone lacks, other maps than ``in_channels``, views of
            another size than ``input_size``.
    """

    def __init__(
        self,
        in_channels: Sequence[int] = (256, 512, 1024, 2048),
        in_strides: Sequence[int | None] = (4, 8, 16, 32),
        semantic_channels: int = 128,
        hidden_channels: int | None = None,
        input_size: int = 224,
        map_stride: int = 16,
        fusion_stride: int | None = None,
        lateral_channels: int = 256,
        init_cfg=None,
    ) -> None:
        super().__init__(init_cfg)
        check_least('HCLNeck', 1, semantic_channels=semantic_channels)
        self.semantic = MLPNeck(in_channels, hidden_channels, semantic_channels)
        self.spatial = SpatialPyramid(in_channels, in_strides, map_stride, fusion_stride, lateral_channels)
        self.in_channels = list(in_channels)
        self.map_size = math.ceil(input_size / map_stride)
        self.input_size = input_size
        self.out_channels = semantic_channels + self.map_size**2
        self.parts = dict(semantic=slice(semantic_channels), spatial=slice(semantic_channels, None))

    def forward(self, features: Sequence[Tensor]) -> tuple[Tensor]:
        """
        Args:
            features: the backbone's maps (N, C_l, H_l, W_l), fine to coarse.

        Returns:
            A 1-tuple: the (N, out_channels) embedding, semantic half first, halves of unit length (float32 or wider).
        """
        features = all_maps(features)
        self._check_channels([feature.shape[1] for feature in features])
        semantic = self.semantic(features)[0]
        spatial = self.spatial(features)
        if spatial.shape[-2:] != (self.map_size, self.map_size):
            raise ValueError(
                f'HCLNeck: input_size={self.input_size} means a {self.map_size} x {self.map_size} map, but these views '
                f"give {spatial.shape[-2]} x {spatial.shape[-1]}; set the neck's input_size to the side of the views; "
                "where they have several sides (multi-crop), set the branch's online_views to those of one"
            )
        spatial = F.normalize(at_least_float32(spatial.flatten(1)), dim=1)
        return (torch.cat([semantic, spatial], dim=1),)

    def _check_channels(self, found: list[int]) -> None:
        if found != self.in_channels:
            raise ValueError(
                f'HCLNeck reads maps of {self.in_channels} channels (in_channels), the backbone gives {found}; set its '
                "out_indices to all stages, e.g. (0, 1, 2, 3), and the neck's in_channels to theirs (viewplug.Siamese "
                'does that where it is left out)'
            )


class SpatialPyramid(BaseModule):
    """C2..C5 summed at one resolution and read out as one map (HCL, sec. 4.3.2).

    Lateral 1x1 convolutions, their sum, the 3x3 smoothing and the 1x1 read-out have no nonlinearity between them, so
    they are contracted before they meet a feature map: each level is read by one 1x1 convolution to the nine taps of
    the 3x3 kernel, the taps are pooled or upsampled to the common resolution, summed, and shifted into place. Values
    and gradients are those of the layers one after the other, which would cost 5.7 % of a ResNet-50 step's MACs.
    Summing nearest-upsampled laterals is FPN's top-down path.
    """

    def __init__(
        self,
        in_channels: Sequence[int],
        in_strides: Sequence[int | None],
        map_stride: int = 16,
        fusion_stride: int | None = None,
        lateral_channels: int = 256,
    ) -> None:
        super().__init__(dict(type='Xavier', layer='Conv2d', distribution='uniform'))
        strides = list(in_strides)
        if len(strides) != len(in_channels):
            raise ValueError(f'HCLNeck: {len(in_channels)} in_channels, but {len(strides)} in_strides')
        if strides and not any(strides):
            raise ValueError(
                f'HCLNeck reads maps (N, C, H, W), and {NO_MAPS}; take a backbone that gives maps, or viewplug.MLPNeck'
            )
        fusion_stride = map_stride if fusion_stride is None else fusion_stride
        for name, value in (('map_stride', map_stride), ('fusion_stride', fusion_stride)):
            if value not in strides:
                raise ValueError(
                    f"HCLNeck: {name}={value} is not among the strides {strides} of the backbone's outputs; do they "
                    'include all stages, out_indices=(0, 1, 2, 3)?'
                )
        if fusion_stride > map_stride:
            raise ValueError(f'HCLNeck: fusion_stride={fusion_stride} is coarser than map_stride={map_stride}')
        self.map_level, self.fusion_level = strides.index(map_stride), strides.index(fusion_stride)
        self.laterals = nn.ModuleList(nn.Conv2d(channels, lateral_channels, 1) for channels in in_channels)
        self.smooth = nn.Conv2d(lateral_channels, lateral_channels, 3, padding=1)
        self.readout = nn.Conv2d(lateral_channels, 1, 1)

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        """Maps (N, C_l, H_l, W_l), fine to coarse -> (N, 1, H, W) at ``map_stride``."""
        size = features[self.fusion_level].shape[-2:]
        kernels, tap_bias, bias = self._contract()
        taps = tap_bias
        for level, (feature, kernel) in enumerate(zip(features, kernels, strict=True)):
            read = F.conv2d(feature, kernel)
            if level < self.fusion_level:
                read = F.adaptive_avg_pool2d(read, size)
            elif level > self.fusion_level:
                read = F.interpolate(read, size=size, mode='nearest')
            taps = taps + read
        spatial = _place_taps(taps) + bias
        if self.fusion_level < self.map_level:
            spatial = F.adaptive_avg_pool2d(spatial, features[self.map_level].shape[-2:])
        return spatial

    def _contract(self) -> tuple[list[Tensor], Tensor, Tensor]:
        """(9, C_l, 1, 1) kernels of the levels, (9, 1, 1) bias of the taps and the read-out's (1,), all fp32."""
        weight = self.readout.weight
        with torch.autocast('cpu' if weight.is_meta else weight.device.type, enabled=False):
            taps = torch.einsum('o,oiyx->yxi', weight.flatten(), self.smooth.weight).flatten(0, 1)
            kernels = [(taps @ lateral.weight.flatten(1))[..., None, None] for lateral in self.laterals]
            tap_bias = taps @ sum(lateral.bias for lateral in self.laterals)
            bias = weight.flatten() @ self.smooth.bias + self.readout.bias
        return kernels, tap_bias[:, None, None], bias


def _place_taps(taps: Tensor) -> Tensor:
    """(N, 9, H, W) -> (N, 1, H, W): tap 3 y + x of a pixel's neighbour at (y - 1, x - 1), zero outside, summed."""
    height, width = taps.shape[-2:]
    padded = F.pad(taps, (1, 1, 1, 1))
    shifted = (padded[:, 3 * y + x, y : y + height, x : x + width] for y in range(3) for x in range(3))
    return sum(shifted).unsqueeze(1)
