"""A transformer block in which query tokens look at the raw tokens, and nobody looks at a query token but itself."""

from __future__ import annotations

import torch
from timm.models.vision_transformer import Attention, Block
from torch import Tensor
from torch.nn import functional as F


class QueryBlock(Block):
    """timm's ``Block`` whose last tokens may be queries that attend one way (ADCLR, sec. 1).

    Everything but the attention works on single tokens, so raw and query tokens share its matrix products, and drop
    path drops an image's queries with the image.
    """

    @classmethod
    def adopt(cls, block: Block) -> QueryBlock:
        """``block`` itself as a QueryBlock: same parameters, same forward while there are no queries.

        Raises:
            ValueError: a block that computes something else than timm's ``Block`` with its ``Attention``.
        """
        attn = type(getattr(block, 'attn', None))
        if type(block) is not Block or attn is not Attention:
            raise ValueError(
                f"query_attention='cross' knows timm's Block with Attention, got {type(block).__name__} with "
                f"{attn.__name__}; take another model_name, or query_attention='full'"
            )
        block.__class__ = cls  # which adds no state
        return block

    def forward(self, tokens: Tensor, num_queries: int = 0) -> Tensor:
        """
        Args:
            tokens: (N, L + Q, D), the queries last.
            num_queries: Q.

        Returns:
            (N, L + Q, D).
        """
        if not num_queries:
            return super().forward(tokens)
        mixed = one_way_attention(self.attn, self.norm1(tokens), num_queries)
        tokens = tokens + self.drop_path1(self.ls1(mixed))
        return tokens + self.drop_path2(self.ls2(self.mlp(self.norm2(tokens))))


def one_way_attention(attn: Attention, tokens: Tensor, num_queries: int) -> Tensor:
    """timm's ``Attention`` with RP -> RP, {RP, QP_i} -> QP_i, and never QP_i -> QP_j (ADCLR's words).

    Raw tokens go through torch's fused attention without a mask. A query has L keys and its own, Q x (L + 1) weights in
    all, which are few enough to be written out.

    Args:
        attn: timm's attention module.
        tokens: (N, L + Q, D), the queries last.
        num_queries: Q, at least 1.

    Returns:
        (N, L + Q, D).
    """
    number, length, _ = tokens.shape
    qkv = attn.qkv(tokens).reshape(number, length, 3, attn.num_heads, -1).permute(2, 0, 3, 1, 4)
    q, k, v = qkv.unbind(0)
    parts = [length - num_queries, num_queries]
    q, own_q = attn.q_norm(q).split(parts, dim=2)
    k, own_k = attn.k_norm(k).split(parts, dim=2)
    v, own_v = v.split(parts, dim=2)
    raw = F.scaled_dot_product_attention(q, k, v, dropout_p=attn.attn_drop.p if attn.training else 0.0)
    own_q = own_q * attn.scale
    own_score = (own_q * own_k).sum(dim=-1, keepdim=True)
    weights = torch.cat([own_q @ k.transpose(-2, -1), own_score], dim=-1).softmax(dim=-1).to(v.dtype)
    weights = attn.attn_drop(weights)
    queries = weights[..., :-1] @ v + weights[..., -1:] * own_v
    # In the order in which the fused attention writes, so that the raw tokens are copied once.
    mixed = torch.cat([raw.transpose(1, 2), queries.transpose(1, 2)], dim=1).flatten(2)
    if getattr(attn, 'norm', None) is not None:  # newer timm has these two
        mixed = attn.norm(mixed)
    if getattr(attn, 'gate', None) is not None:
        mixed = mixed * attn.gate(tokens).sigmoid()
    return attn.proj_drop(attn.proj(mixed))
