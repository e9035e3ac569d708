"""Where the class token and the query tokens of a QueryViT look, in its last block."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from viewplug.backbones import QueryViT


@torch.no_grad()
def attention_maps(backbone: QueryViT, images: Tensor, queries: Tensor) -> tuple[Tensor, Tensor]:
    """Attention of the last block to the image's patches, of every head (ADCLR, fig. 1; DINO, fig. 1).

    The weights are those that the block itself uses, so the shares of the class token, of registers and of a query's
    own key are what a map lacks to a sum of 1.

    Args:
        backbone: in the mode (evaluation) that is wanted, with ``out='mapping'``.
        images: (N, 3, H, W), normalised.
        queries: (N, Q, 3, p, p), normalised.

    Returns:
        class token (N, heads, h, w) and queries (N, Q, heads, h, w), float32.
    """
    caught: list[Tensor] = []
    attn = backbone.blocks[-1].attn
    handle = attn.qkv.register_forward_hook(lambda module, inputs, output: caught.append(output))
    try:
        backbone(images, queries)
    finally:
        handle.remove()
    number, length, _ = caught[0].shape
    q, k, _ = caught[0].reshape(number, length, 3, attn.num_heads, -1).permute(2, 0, 3, 1, 4).unbind(0)
    q, k = (getattr(attn, name, nn.Identity())(part).float() for name, part in (('q_norm', q), ('k_norm', k)))
    raw = length - queries.shape[1]
    scores = q @ k.transpose(-2, -1) * attn.scale
    if backbone.query_attention == 'cross':
        seen = torch.eye(length, dtype=torch.bool, device=scores.device)
        seen[:, :raw] = True
        scores = scores.masked_fill(~seen, -torch.inf)
    weights = scores.softmax(dim=-1)[..., backbone.num_prefix_tokens : raw]
    grid = [size // side for size, side in zip(images.shape[-2:], backbone.patch_embed.patch_size, strict=True)]
    weights = weights.unflatten(-1, grid)
    return weights[:, :, 0], weights[:, :, raw:].transpose(1, 2)
