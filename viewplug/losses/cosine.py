"""Negative cosine similarity, the loss of BYOL and SimSiam."""

import torch
from torch import Tensor, nn

from viewplug.ops import at_least_float32
from viewplug.registry import MODELS

_EPS = 1e-12  # of torch's normalize


@MODELS.register_module()
class CosineLoss(nn.Module):
    r"""Affine in the cosine of prediction and target, averaged over the batch.

    .. math:: \frac1N \sum_i \left(\text{shift} - \text{scale} \cdot \cos(p_i, z_i)\right)

    The defaults are SimSiam's negative cosine (arXiv:2011.10566, eq. 1). ``scale=2, shift=2`` is :math:`2 - 2\cos`,
    BYOL's squared distance of unit vectors (arXiv:2006.07733, eq. 2). The shift changes the value, not the gradient.

    Args:
        scale: factor of the cosine, above 0.
        shift: the loss of orthogonal vectors.

    Raises:
        ValueError: the scale is not above 0 (embeddings would be pushed apart), or shapes differ.
    """

    def __init__(self, scale: float = 1.0, shift: float = 0.0) -> None:
        super().__init__()
        if not scale > 0:
            raise ValueError(f'CosineLoss: scale must be above 0, got {scale}')
        self.scale, self.shift = scale, shift

    def forward(self, prediction: Tensor, target: Tensor) -> Tensor:
        """
        Args:
            prediction, target: (..., D), of any length; row i of one belongs to row i of the other.

        Returns:
            Scalar, float32 or wider: the mean over all rows.
        """
        if prediction.shape != target.shape:
            raise ValueError(
                f'CosineLoss: predictions {tuple(prediction.shape)} and targets {tuple(target.shape)} differ in shape'
            )
        with torch.autocast(prediction.device.type, enabled=False):
            prediction, target = at_least_float32(prediction), at_least_float32(target)
            return self.shift - self.scale * _MeanCosine.apply(prediction, target)

    def extra_repr(self) -> str:
        return f'scale={self.scale}, shift={self.shift}'


class _MeanCosine(torch.autograd.Function):
    """Mean over rows of cos(p, z) = p.z / (|p| |z|), lengths at least _EPS, with its gradient written out.

    d cos / dp = z / (|p| |z|) - cos p / |p|^2, and the second term is 0 where the length is _EPS in place of its own.
    Two arrays are read and one is made for each gradient; on small batches torch's many small steps cost more than
    the arithmetic.
    """

    @staticmethod
    def forward(ctx, prediction: Tensor, target: Tensor) -> Tensor:
        cosine, *lengths = _cosines(prediction, target)
        ctx.save_for_backward(prediction, target, cosine, *lengths)
        return cosine.mean()

    @staticmethod
    def backward(ctx, grad: Tensor):
        prediction, target, cosine, *lengths = ctx.saved_tensors
        if torch.is_grad_enabled():  # for a second derivative, which what forward kept knows nothing of
            cosine, *lengths = _cosines(prediction, target)
        share = grad / cosine.numel()
        across = (share / (lengths[0] * lengths[1])).unsqueeze(-1)
        gradients: list[Tensor | None] = [None, None]
        sides = ((prediction, target, lengths[0]), (target, prediction, lengths[1]))
        for index, (own, other, length) in enumerate(sides):
            if ctx.needs_input_grad[index]:
                along = (share * cosine / length.square()).masked_fill_(length <= _EPS, 0.0)
                gradients[index] = (other * across).addcmul_(own, along.unsqueeze(-1), value=-1)
        return tuple(gradients)


def _cosines(prediction: Tensor, target: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Of each pair of rows, and the lengths of both."""
    lengths = [torch.linalg.vector_norm(side, dim=-1).clamp_min(_EPS) for side in (prediction, target)]
    return torch.linalg.vecdot(prediction, target) / (lengths[0] * lengths[1]), *lengths
