"""InfoNCE of very many vectors against very many others, without their matrix of similarities."""

from __future__ import annotations

import torch
from torch import Tensor

# Similarities that exist at a time: 64 MB of float32.
CHUNK_ELEMENTS = 2**24


def weighted_info_nce(
    queries: Tensor,
    positives: Tensor,
    negatives: Tensor,
    weights: Tensor,
    temperature: float,
    excluded: Tensor | None = None,
) -> Tensor:
    r"""The weighted sum of InfoNCE terms, computed with its gradient for a few queries at a time.

    .. math:: -\sum_i w_i \log \frac{e^{q_i p_i/T}}{e^{q_i p_i/T} + \sum_j e^{q_i n_j/T}}

    The gradient of a sum with known weights is known in forward, so what is kept for backward is as large as the
    arguments, and no similarity is computed twice.

    Args:
        queries, positives: (Q, D), row i of one belongs to row i of the other.
        negatives: (M, D), of every query.
        weights: (Q,) without gradient.
        excluded: (Q,) int64, the row of ``negatives`` that is none to query i (it is its positive); None: all are.

    Returns:
        Scalar. Differentiable (once) in queries, positives and negatives.
    """
    return _WeightedInfoNCE.apply(queries, positives, negatives, weights, temperature, excluded)


class _WeightedInfoNCE(torch.autograd.Function):
    @staticmethod
    def forward(ctx, queries, positives, negatives, weights, temperature, excluded):
        needs = ctx.needs_input_grad[:3]
        gradients = [
            torch.empty_like(x) if need else None for x, need in zip((queries, positives), needs, strict=False)
        ]
        gradients.append(torch.zeros_like(negatives) if needs[2] else None)
        loss = queries.new_zeros(())
        rows = max(1, CHUNK_ELEMENTS // max(1, len(negatives)))
        for start in range(0, len(queries), rows):
            part = slice(start, start + rows)
            q, p, w = queries[part], positives[part], weights[part]
            positive = (q * p).sum(dim=1) / temperature
            similarity = (q @ negatives.t()).div_(temperature)
            if excluded is not None:
                similarity.scatter_(1, excluded[part].unsqueeze(1), float('-inf'))
            largest = torch.maximum(similarity.amax(dim=1), positive)
            share = similarity.sub_(largest.unsqueeze(1)).exp_()
            total = share.sum(dim=1) + (positive - largest).exp()
            loss += (w * (total.log() + largest - positive)).sum()
            if not any(needs):
                continue
            scale = w / temperature
            pull = ((positive - largest).exp() / total - 1) * scale
            share.mul_((scale / total).unsqueeze(1))
            if needs[0]:
                gradients[0][part] = share @ negatives + pull.unsqueeze(1) * p
            if needs[1]:
                gradients[1][part] = pull.unsqueeze(1) * q
            if needs[2]:
                gradients[2].addmm_(share.t(), q)
        ctx.needs = needs
        ctx.save_for_backward(*(gradient for gradient in gradients if gradient is not None))
        return loss

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, grad):
        saved = iter(ctx.saved_tensors)
        return *(next(saved) * grad if need else None for need in ctx.needs), None, None, None
