"""InfoNCE, the contrastive loss of MoCo, SimCLR, HCL and ReSim."""

import torch
from torch import Tensor, nn

from viewplug.ops import at_least_float32
from viewplug.registry import MODELS


@MODELS.register_module()
class InfoNCELoss(nn.Module):
    r"""InfoNCE on similarities (CPC, arXiv:1807.03748, eq. 4; MoCo, arXiv:1911.05722, eq. 1).

    .. math:: -\frac1N \sum_i \log \frac{e^{p_i/T}}{e^{p_i/T} + \sum_k e^{n_{ik}/T}}

    Args:
        temperature: T, above 0. Embeddings that are two concatenated unit vectors (HCL) have similarities in
            [-2, 2]; if a framework normalises them once more the range halves, and so must T.

    Raises:
        ValueError: the temperature is not above 0.
    """

    def __init__(self, temperature: float = 0.2) -> None:
        super().__init__()
        if not temperature > 0:
            raise ValueError(f'InfoNCELoss: temperature must be above 0, got {temperature}')
        self.temperature = temperature

    def forward(self, positive: Tensor, negatives: Tensor) -> Tensor:
        """
        Args:
            positive: (N,) or (N, 1) similarity of each query with its own key.
            negatives: (N, K) similarity of each query with K others.

        Returns:
            Scalar, float32 or wider: the mean over the N queries.
        """
        return info_nce(at_least_float32(positive).reshape(-1), at_least_float32(negatives), self.temperature).mean()

    def extra_repr(self) -> str:
        return f'temperature={self.temperature}'


def info_nce(positive: Tensor, negatives: Tensor, temperature: float) -> Tensor:
    """The InfoNCE terms of N queries: positive (N,), negatives (N, K) -> (N,)."""
    return _InfoNCE.apply(positive, negatives, temperature)


class _InfoNCE(torch.autograd.Function):
    """Neither joins positive with negatives nor stores a scaled or normalised copy of the (N, K) matrix.

    Written plainly (cat, divide, cross entropy) training keeps three such matrices alive; here it is the similarities
    themselves plus, in backward, their gradient.
    """

    @staticmethod
    def forward(ctx, positive: Tensor, negatives: Tensor, temperature: float) -> Tensor:
        scaled = positive / temperature
        # Row by row blocks keep the scaled copy small (about 1 M elements).
        rows = max(1, (1 << 20) // max(1, negatives.shape[1]))
        rest = torch.cat([torch.logsumexp(block / temperature, dim=1) for block in negatives.split(rows)])
        total = torch.logaddexp(scaled, rest)
        ctx.temperature = temperature
        ctx.save_for_backward(scaled, negatives, total)
        return total - scaled

    @staticmethod
    def backward(ctx, grad: Tensor):
        scaled, negatives, total = ctx.saved_tensors
        scale = (grad / ctx.temperature).unsqueeze(1)
        grad_positive = (torch.exp(scaled - total) - 1) * scale.squeeze(1)
        grad_negatives = (negatives / ctx.temperature).sub_(total.unsqueeze(1)).exp_().mul_(scale)
        return grad_positive, grad_negatives, None
