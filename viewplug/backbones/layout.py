"""Channels and strides of a backbone's outputs, read off the backbone itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from viewplug.ops.channels_first import in_torchs_order

NO_MAPS = (
    'this backbone gives none: its outputs are vectors or tokens, as a ViT with a class token has them, and '
    "mmpretrain's ConvNeXt without gap_before_final_norm=False"
)
"""Why something that reads maps (N, C, H, W) cannot."""


@torch.no_grad()
def backbone_layout(
    backbone: nn.Module, image_size: int = 128, entry: str = 'cls'
) -> tuple[tuple[int, ...], tuple[int | None, ...]]:
    """Run one blank image through ``backbone`` (evaluation mode, nothing is changed in it).

    Args:
        backbone: any module from (N, 3, H, W) to a map, tokens, a vector or a sequence of them, or to a mapping of
            such: mmpretrain's, timm's, ours.
        image_size: side of the blank image in pixels; timm's ViTs name their own, and some take no other.
        entry: which entry of a mapping counts; ``cls`` in place of one that an image alone does not give (``query``).

    Returns:
        Channels and strides (pixels; None for a vector (N, C) or tokens (N, L, C)) of its outputs, in the order it
        gives them.

    Raises:
        ValueError: a mapping without that entry.
    """
    modes = {module: module.training for module in backbone.modules()}
    first = next(backbone.parameters())
    try:
        backbone.eval()  # not chained: mmpretrain's backbones return None here
        height, width = _own_image_size(backbone) or (image_size, image_size)
        outputs = in_torchs_order(backbone, backbone(first.new_zeros(1, 3, height, width)))
    finally:
        for module, mode in modes.items():
            module.training = mode
    if isinstance(outputs, Mapping):
        if not {entry, 'cls'} & set(outputs):
            raise ValueError(
                f'model.backbone: {type(backbone).__name__} gives {", ".join(map(str, outputs))}, and {entry!r} is '
                "asked for; name one of them in the branch's reads"
            )
        outputs = outputs.get(entry, outputs.get('cls'))
    outputs = all_maps(outputs)
    channels = tuple(output.shape[-1 if output.dim() == 3 else 1] for output in outputs)
    strides = tuple(round(width / output.shape[-1]) if output.dim() == 4 else None for output in outputs)
    return channels, strides


def all_maps(output: Tensor | Sequence[Tensor]) -> Sequence[Tensor]:
    """What a backbone gives, one output or several, as several."""
    return [output] if isinstance(output, Tensor) else output


def _own_image_size(backbone: nn.Module) -> tuple[int, int] | None:
    """Height and width that a ViT of timm, in mmpretrain's TIMMBackbone or ours, was built for."""
    patch_embed = getattr(getattr(backbone, 'timm_model', backbone), 'patch_embed', None)
    return getattr(patch_embed, 'img_size', None)
