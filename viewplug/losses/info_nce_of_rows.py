"""InfoNCE of very many vectors against very many others, without their matrix of similarities."""

from __future__ import annotations

import torch
from torch import Tensor

# Similarities that exist at a time, 64 MB of float32, where negatives have a gradient: all of a query's.
CHUNK_ELEMENTS = 2**24
# Where they have none, a block of queries and negatives: in a processor's cache, or enough work for another device.
BLOCK_QUERIES = 1024
BLOCK_ELEMENTS = dict(cpu=2**20)


def weighted_info_nce(
    queries: Tensor,
    positives: Tensor,
    negatives: Tensor,
    weights: Tensor,
    temperature: float,
    excluded: Tensor | None = None,
) -> Tensor:
    r"""The weighted sum of InfoNCE terms, computed with its gradient block by block.

    .. math:: -\sum_i w_i \log \frac{e^{q_i p_i/T}}{e^{q_i p_i/T} + \sum_j e^{q_i n_j/T}}

    The gradient of a sum with known weights is known in forward, so what is kept for backward is as large as the
    arguments, and no similarity is computed twice. Negatives without a gradient (a queue, a momentum target's) are
    taken a few at a time too; what was summed before is scaled down as a larger similarity turns up (Milakov &
    Gimelshein, arXiv:1805.02867, algorithm 3).

    Args:
        queries, positives: (Q, D), row i of one belongs to row i of the other.
        negatives: (M, D), of every query.
        weights: (Q,) without gradient.
        excluded: (Q,) int64, the row of ``negatives`` that is none to query i (it is its positive); None: all are.

    Returns:
        Scalar. Differentiable (once) in queries, positives and negatives.
    """
    if not torch.is_grad_enabled():
        queries, positives, negatives = queries.detach(), positives.detach(), negatives.detach()
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
        rows, columns = _block(queries, negatives, whole_rows=needs[2] or excluded is not None)
        for start in range(0, len(queries), rows):
            part = slice(start, start + rows)
            q, p, w = queries[part], positives[part], weights[part]
            positive = (q * p).sum(dim=1) / temperature
            largest, rest = positive, torch.zeros_like(positive)  # of the negatives' exponentials over the largest's
            scaled = q / temperature
            pulled = torch.zeros_like(q) if needs[0] else None
            for block in negatives.split(columns) if len(negatives) else ():
                share = None  # frees the last one before the next is made
                share = scaled @ block.t()
                if excluded is not None:
                    share.scatter_(1, excluded[part].unsqueeze(1), float('-inf'))
                before, largest = largest, torch.maximum(largest, share.amax(dim=1))
                shrink = (before - largest).exp_()
                share.sub_(largest.unsqueeze(1)).exp_()
                rest = (rest * shrink).add_(share.sum(dim=1))
                if needs[0]:
                    pulled.mul_(shrink.unsqueeze(1)).addmm_(share, block)
            # Of the negatives' share: one less the positive's would cancel where a query has found its key.
            apart = rest.log() + (largest - positive)
            # Not in place: torch.compile (2.11) takes an output that was changed for one without gradient.
            loss = loss + (w * torch.logaddexp(apart, torch.zeros_like(apart))).sum()
            total = rest + (positive - largest).exp()
            pull = (-rest / total * w / temperature).unsqueeze(1)
            factor = (w / temperature / total).unsqueeze(1)
            if needs[0]:
                torch.addcmul(pulled.mul_(factor), pull, p, out=gradients[0][part])
            if needs[1]:
                torch.mul(pull, q, out=gradients[1][part])
            if needs[2] and len(negatives):
                gradients[2].addmm_(share.mul_(factor).t(), q)
        ctx.needs = needs
        ctx.save_for_backward(*(gradient for gradient in gradients if gradient is not None))
        return loss

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, grad):
        saved = iter(ctx.saved_tensors)
        return *(next(saved) * grad if need else None for need in ctx.needs), None, None, None


def _block(queries: Tensor, negatives: Tensor, whole_rows: bool) -> tuple[int, int]:
    """How many queries and how many negatives are compared at a time."""
    if whole_rows:
        return max(1, CHUNK_ELEMENTS // max(1, len(negatives))), max(1, len(negatives))
    rows = max(1, min(len(queries), BLOCK_QUERIES))
    return rows, max(1, BLOCK_ELEMENTS.get(queries.device.type, CHUNK_ELEMENTS) // rows)
