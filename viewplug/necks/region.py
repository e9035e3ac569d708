"""ReSim's neck: projected feature maps of one or more levels, for windows to be pooled from."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from mmcv.cnn import ConvModule
from mmengine.model import BaseModule, ModuleDict, ModuleList
from torch import Tensor, nn
from torch.nn import functional as F

from viewplug.backbones.layout import NO_MAPS, all_maps
from viewplug.registry import MODELS


@MODELS.register_module()
class RegionNeck(BaseModule):
    """Two 3x3 convolutions with batch norm and ReLU between, on each level that regions are compared at (ReSim,
    sec. 3.4; Table 7 for the widths).

    Args:
        stages: levels by name, ``('C4',)``. Ck is the backbone's (first) map of stride 2^k pixels, Pk the level of the
            same stride of a feature pyramid on top (ReSim-FPN: ``('P3', 'P4')``), all of one letter. C levels may be
            given as strides: 16 is C4.
        hidden_channels: width between the two convolutions, of each level or of all. 128 is our choice for MoCo, where
            the paper has the output only; its SimSiam has 1024 at C4 and 512 at C3, and the same ``out_channels``.
        out_channels: width of the projection, likewise.
        in_channels: channels of the backbone's maps, fine to coarse. Left out, ``viewplug.Siamese`` fills it in.
        in_strides: their strides in pixels. Likewise.
        fpn_channels: channels of the pyramid.
        fpn_norm_cfg: norm layers inside the pyramid, as mmdet's FPN ``norm_cfg``.
        norm_cfg: between the two convolutions.
        last_norm_cfg: after the second; SimSiam's projector has ``dict(type='BN', affine=False)`` there.

    Attributes:
        out_channels: width of the projection, a number for one stage and a tuple for several.
        strides: of the stages, pixels.

    Raises:
        ValueError: a stage that the backbone lacks, letters that are mixed, other maps than ``in_channels`` says.
    """

    def __init__(
        self,
        stages: str | int | Sequence[str | int] = ('C4',),
        hidden_channels: int | Sequence[int] = 128,
        out_channels: int | Sequence[int] = 128,
        in_channels: Sequence[int] = (256, 512, 1024, 2048),
        in_strides: Sequence[int | None] = (4, 8, 16, 32),
        fpn_channels: int = 256,
        fpn_norm_cfg: dict | None = None,
        norm_cfg: dict | None = None,
        last_norm_cfg: dict | None = None,
        init_cfg=None,
    ) -> None:
        super().__init__(init_cfg)
        stages = (stages,) if isinstance(stages, str | int) else tuple(stages)
        self.levels, pyramid = find_levels(stages, in_strides)
        self.in_channels = tuple(in_channels)
        self.strides = tuple(in_strides[level] for level in self.levels)
        widths = list(in_channels)
        self.fpn = None
        if pyramid:
            self.fpn = PartialFPN(in_channels, self.levels, fpn_channels, fpn_norm_cfg)
            widths = [fpn_channels] * len(widths)
        hidden, self.widths = (_per_level(value, len(stages)) for value in (hidden_channels, out_channels))
        self.out_channels = self.widths[0] if len(stages) == 1 else self.widths
        norm_cfg = norm_cfg or dict(type='BN')
        self.projections = ModuleList(
            nn.Sequential(
                ConvModule(widths[level], between, 3, padding=1, norm_cfg=norm_cfg),
                ConvModule(between, out, 3, padding=1, norm_cfg=last_norm_cfg, act_cfg=None),
            )
            for level, between, out in zip(self.levels, hidden, self.widths, strict=True)
        )

    def forward(self, features: Sequence[Tensor]) -> tuple[Tensor]:
        """
        Args:
            features: the backbone's maps (N, C_l, H_l, W_l), fine to coarse.

        Returns:
            A 1-tuple, like every neck's: positions as tokens (N, sum of H_l * W_l, widest ``out_channels``), row by
            row, level after level in the order of ``stages``; narrower levels end in zeros. ``viewplug.RegionHead``
            takes them apart again.
        """
        features = all_maps(features)
        if len(features) != len(self.in_channels):
            raise ValueError(
                f'RegionNeck was built for {len(self.in_channels)} maps (in_channels={self.in_channels}), but the '
                f'backbone gives {len(features)}'
            )
        maps = self.fpn(features) if self.fpn is not None else [features[level] for level in self.levels]
        projected = [projection(x) for projection, x in zip(self.projections, maps, strict=True)]
        return (tokens_of_maps(projected),)


class PartialFPN(BaseModule):
    """The part of a feature pyramid (arXiv:1612.03144; ReSim, sec. 3.3) that some levels need.

    Parameters have the names and shapes of mmdet's ``FPN`` over the same backbone maps, so that a detector's FPN loads
    them by prefix (ReSim-FPN^T). It lacks the laterals finer than the finest level asked for, and the output
    convolutions of levels not asked for, which were never trained.

    Args:
        in_channels: channels of all of the backbone's maps, fine to coarse; a map's place is its number in the names.
        levels: places of the maps to give.
    """

    def __init__(
        self, in_channels: Sequence[int], levels: Sequence[int], channels: int = 256, norm_cfg: dict | None = None
    ) -> None:
        super().__init__(dict(type='Xavier', layer='Conv2d', distribution='uniform'))
        self.levels = tuple(levels)
        self.lateral_convs = ModuleDict(
            {
                str(place): ConvModule(in_channels[place], channels, 1, norm_cfg=norm_cfg, act_cfg=None)
                for place in range(min(levels), len(in_channels))
            }
        )
        self.fpn_convs = ModuleDict(
            {
                str(place): ConvModule(channels, channels, 3, padding=1, norm_cfg=norm_cfg, act_cfg=None)
                for place in sorted(levels)
            }
        )

    def forward(self, features: Sequence[Tensor]) -> list[Tensor]:
        """All maps of the backbone -> those of ``levels``, in their order."""
        found, coarser = {}, None
        for place in sorted(map(int, self.lateral_convs), reverse=True):
            lateral = self.lateral_convs[str(place)](features[place])
            if coarser is not None:
                lateral = lateral + F.interpolate(coarser, size=lateral.shape[-2:], mode='nearest')
            if place in self.levels:
                found[place] = self.fpn_convs[str(place)](lateral)
            coarser = lateral
        return [found[place] for place in self.levels]


def find_levels(stages: Sequence[str | int], strides: Sequence[int | None]) -> tuple[tuple[int, ...], bool]:
    """Places of ``stages`` among maps of ``strides``, and whether they are levels of a pyramid."""
    letters = {stage[:1] if isinstance(stage, str) else 'C' for stage in stages}
    names = [name for name in stages if isinstance(name, str)]
    if letters not in ({'C'}, {'P'}) or not all(name[1:].isdigit() for name in names):
        raise ValueError(
            "RegionNeck: stages must all be C levels ('C4', or their strides) or all P levels ('P3', 'P4'), "
            f'got {stages}'
        )
    strides = list(strides)
    if strides and not any(strides):
        raise ValueError(f'RegionNeck reads maps (N, C, H, W), and {NO_MAPS}; take a backbone that gives maps')
    wanted = [2 ** int(stage[1:]) if isinstance(stage, str) else stage for stage in stages]
    if len(set(wanted)) < len(wanted):
        raise ValueError(f'RegionNeck: stages={stages} names a level twice')
    for stage, stride in zip(stages, wanted, strict=True):
        if stride not in strides:
            raise ValueError(
                f'RegionNeck: stages={stages} asks for {stage!r}, stride {stride}, but the strides of the '
                f"backbone's outputs are {strides} (C2 and P2 are stride 4, C3 and P3 stride 8, ...); choose among "
                'these, or let the backbone give that stage too (its out_indices)'
            )
    return tuple(strides.index(stride) for stride in wanted), letters == {'P'}


def tokens_of_maps(maps: Sequence[Tensor]) -> Tensor:
    """Maps (N, C_l, H_l, W_l) -> (N, sum of H_l * W_l, largest C_l); no copy of a single one."""
    widest = max(x.shape[1] for x in maps)
    tokens = [F.pad(x, (0, 0, 0, 0, 0, widest - x.shape[1])) if x.shape[1] < widest else x for x in maps]
    tokens = [x.flatten(2).transpose(1, 2) for x in tokens]
    return tokens[0] if len(tokens) == 1 else torch.cat(tokens, dim=1)


def _per_level(value: int | Sequence[int], count: int) -> tuple[int, ...]:
    values = (value,) * count if isinstance(value, int) else tuple(value)
    if len(values) != count:
        raise ValueError(f'RegionNeck: there are {count} stages, but {len(values)} widths: {values}')
    return values
