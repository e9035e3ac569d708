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
            # The lengths divide one number a row: a third of the time of normalising both.
            lengths = [torch.linalg.vector_norm(side, dim=-1).clamp_min(_EPS) for side in (prediction, target)]
            cosine = torch.linalg.vecdot(prediction, target) / (lengths[0] * lengths[1])
            return self.shift - self.scale * cosine.mean()

    def extra_repr(self) -> str:
        return f'scale={self.scale}, shift={self.shift}'
