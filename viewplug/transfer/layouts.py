"""One network, several libraries' names for its weights."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable

import torch
from torch import Tensor
from torch.nn import functional as F

# A row is one part under each layout's name; # is the number of a block. The first row that fits counts.
VIT = [
    dict(timm='patch_embed.proj.', mmpretrain='patch_embed.projection.', mmseg='patch_embed.projection.'),
    dict(timm='blocks.#.norm1.', mmpretrain='layers.#.ln1.', mmseg='layers.#.ln1.'),
    dict(timm='blocks.#.norm2.', mmpretrain='layers.#.ln2.', mmseg='layers.#.ln2.'),
    dict(timm='blocks.#.attn.qkv.', mmpretrain='layers.#.attn.qkv.', mmseg='layers.#.attn.attn.in_proj_'),
    dict(timm='blocks.#.attn.proj.', mmpretrain='layers.#.attn.proj.', mmseg='layers.#.attn.attn.out_proj.'),
    dict(timm='blocks.#.mlp.fc1.', mmpretrain='layers.#.ffn.layers.0.0.', mmseg='layers.#.ffn.layers.0.0.'),
    dict(timm='blocks.#.mlp.fc2.', mmpretrain='layers.#.ffn.layers.1.', mmseg='layers.#.ffn.layers.1.'),
    dict(timm='blocks.#.ls1.gamma', mmpretrain='layers.#.attn.gamma1.weight', mmseg='layers.#.ls1.gamma'),
    dict(timm='blocks.#.ls2.gamma', mmpretrain='layers.#.ffn.gamma2.weight', mmseg='layers.#.ls2.gamma'),
    dict(timm='norm.', mmpretrain='ln1.', mmseg='ln1.'),
]
RESNET = [
    dict(torchvision='bn1.', detectron2='stem.conv1.norm.'),
    dict(torchvision='conv1.', detectron2='stem.conv1.'),
    *(
        dict(torchvision=f'layer{stage}.#.{theirs}.', detectron2=f'res{stage + 1}.#.{d2}.')
        for stage in (1, 2, 3, 4)
        for theirs, d2 in (
            ('bn1', 'conv1.norm'),
            ('bn2', 'conv2.norm'),
            ('bn3', 'conv3.norm'),
            ('downsample.1', 'shortcut.norm'),
            ('conv1', 'conv1'),
            ('conv2', 'conv2'),
            ('conv3', 'conv3'),
            ('downsample.0', 'shortcut'),
        )
    ),
]
PYRAMID = [
    dict(mmdet=f'{mmdet}.{place}.{part}.', detectron2=f'{d2}{place + 2}.{norm}')
    for place in range(4)
    for mmdet, d2 in (('lateral_convs', 'fpn_lateral'), ('fpn_convs', 'fpn_output'))
    for part, norm in (('bn', 'norm.'), ('conv', ''))
]
ROWS = dict(timm=VIT, mmpretrain=VIT, mmseg=VIT, torchvision=RESNET, detectron2=RESNET)

# A name that only this layout has, and one more that must stand beside it.
ANCHORS = dict(
    torchvision=(r'(?:layer1|layer4)\.0\.conv1\.weight', None),
    detectron2=(r'res[25]\.0\.conv1\.weight', None),
    timm=(r'blocks\.0\.attn\.qkv\.weight', 'patch_embed.proj.weight'),
    mmpretrain=(r'layers\.0\.attn\.qkv\.weight', 'patch_embed.projection.weight'),
    mmseg=(r'layers\.0\.attn\.attn\.in_proj_weight', 'patch_embed.projection.weight'),
)


def find_layouts(names: Iterable[str]) -> dict[str, str]:
    """Prefix -> layout of every ResNet and ViT among ``names``, in their order.

    ``torchvision`` is also timm's, mmdet's, mmseg's and mmpretrain's layout of a ResNet, ``timm`` DINO's and MAE's of a
    ViT.
    """
    names = dict.fromkeys(names)
    found = {}
    for name in names:
        for layout, (anchor, beside) in ANCHORS.items():
            match = re.fullmatch(rf'((?:.*\.)?){anchor}', name)
            if match and (beside is None or match[1] + beside in names):
                found.setdefault(match[1], layout)
    return found


def family_of(layout: str | None) -> list[str | None]:
    """The layouts that the same network has elsewhere, ``layout`` itself first."""
    if layout is None:
        return [None]
    return [layout, *(other for other in ROWS if other != layout and ROWS[other] is ROWS[layout])]


def rename(name: str, source: str | None, target: str | None, rows: list[dict] | None = None) -> str:
    """``name`` of layout ``source`` as ``target`` calls it; names that both share, or only one has, are kept."""
    if source == target:
        return name
    for row in rows if rows is not None else ROWS[source]:
        match = re.fullmatch(re.escape(row[source]).replace(r'\#', r'(\d+)') + '(.*)', name)
        if match:
            *block, rest = match.groups()
            return row[target].replace('#', block[0] if block else '') + rest
    return name


def resize_positions(
    positions: Tensor, tokens: int, grid: tuple[int, int] | None = None, antialias: bool = False
) -> Tensor:
    """A position embedding (1, N, C) for ``tokens`` tokens: its grid resized (bicubic), its class token kept.

    Args:
        grid: rows and columns of the target; a square where it is not given.
        antialias: as timm does it; mmpretrain and mmseg do not.

    Raises:
        ValueError: neither number is a grid with or without a class token, or the target has one and the source none.
    """
    kept = _extra_tokens(positions.shape[1])
    rows, columns = grid or (math.isqrt(tokens - _extra_tokens(tokens)),) * 2
    wanted = tokens - rows * columns
    if not 0 <= wanted <= kept:
        raise ValueError(
            f'a position embedding of {positions.shape[1]} tokens does not fit {tokens} on a grid of {rows} x {columns}'
        )
    side = math.isqrt(positions.shape[1] - kept)
    image = positions[:, kept:].reshape(1, side, side, -1).permute(0, 3, 1, 2)
    if (rows, columns) != (side, side):
        image = F.interpolate(image.float(), size=(rows, columns), mode='bicubic', antialias=antialias)
    image = image.flatten(2).transpose(1, 2).to(positions.dtype)
    return torch.cat([positions[:, :wanted], image], dim=1)


def _extra_tokens(tokens: int) -> int:
    """Tokens beside the grid, which is square: 1 of 197, none of 196."""
    for extra in range(min(8, tokens)):
        if math.isqrt(tokens - extra) ** 2 == tokens - extra:
            return extra
    raise ValueError(f'a position embedding of {tokens} tokens is no square grid')
