"""One vector an image from whatever a backbone gives."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

Features = Tensor | Sequence | Mapping
"""A map (N, D, h, w), tokens (N, L, D), a vector (N, D); several of them; or a mapping with a vector ``cls``."""


def pooled(features: Features, dtype: torch.dtype | None = None) -> Tensor:
    """What a backbone gives -> (N, D).

    Of a mapping (``viewplug.QueryViT``) the class token counts, ``cls``; of a tuple (stages; a ViT's patch tokens with
    the class token last) the last element. Maps (N, D, h, w) are averaged over positions, tokens (N, L, D) over tokens
    (all that a timm ViT in mmpretrain's TIMMBackbone gives, class and register tokens too), vectors (N, D) stay.

    Args:
        dtype: to average in.

    Raises:
        ValueError: a mapping without ``cls``.
    """
    while not isinstance(features, Tensor):
        features = of_whole_image(features) if isinstance(features, Mapping) else features[-1]
    if features.dim() == 4:
        return features.mean(dim=(2, 3), dtype=dtype)
    return features.mean(dim=1, dtype=dtype) if features.dim() == 3 else features


def of_whole_image(features: Mapping) -> Features:
    """The entry of a backbone's mapping that stands for the whole image, ``cls``.

    Raises:
        ValueError: there is none.
    """
    if 'cls' not in features:
        raise ValueError(
            f'the backbone gives {", ".join(map(str, features))}, and one vector an image is read from cls: give the '
            'entry that stands for the whole image this name'
        )
    return features['cls']
