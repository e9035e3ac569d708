"""DINO's and iBOT's cross-entropy between the target's and the online network's distributions over prototypes."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from viewplug.devices import to_device
from viewplug.ops import at_least_float32
from viewplug.registry import MODELS


@MODELS.register_module()
class DINOLoss(nn.Module):
    r"""Cross-entropy of prototypes (DINO, arXiv:2104.14294, eq. 2).

    .. math:: -\frac1N \sum_i \sum_k q_{ik} \log \mathrm{softmax}(s_i / T)_k

    where q are the target's distributions; centring and sharpening them is ``viewplug.DistillHead``'s. Since this is
    linear in q, an online view that is compared with several targets needs their sum only: ``mass`` is how many.

    Args:
        temperature: T, of the online network, above 0.

    Raises:
        ValueError: the temperature is not above 0, or shapes differ.
    """

    def __init__(self, temperature: float = 0.1) -> None:
        super().__init__()
        if not temperature > 0:
            raise ValueError(f'{type(self).__name__}: temperature must be above 0, got {temperature}')
        self.temperature = temperature

    def forward(self, online: Tensor, target: Tensor, mass: float = 1.0) -> Tensor:
        """
        Args:
            online: (N, K) logits.
            target: (N, K) float32 or wider, distributions or sums of several; a constant.
            mass: what a row of ``target`` adds up to.

        Returns:
            Scalar, float32 or wider: the mean over rows.
        """
        return self.rows(online, target, mass).mean()

    def rows(self, online: Tensor, target: Tensor, mass: float = 1.0) -> Tensor:
        """As the call, each row's own loss (N,)."""
        if online.shape != target.shape or online.dim() != 2:
            raise ValueError(
                f'{type(self).__name__}: logits {tuple(online.shape)} and targets {tuple(target.shape)} must both be '
                '(rows, prototypes)'
            )
        if not torch.is_grad_enabled():
            online = online.detach()
        with torch.autocast(online.device.type, enabled=False):
            return _PrototypeCrossEntropy.apply(online, target.detach(), self.temperature, mass)

    def extra_repr(self) -> str:
        return f'temperature={self.temperature}'


@MODELS.register_module()
class IBOTLoss(DINOLoss):
    r"""The same of masked patches (iBOT, arXiv:2111.07832, eq. 2): an image's masked patches share its weight.

    .. math:: -\frac1N \sum_i \frac{1}{|M_i|} \sum_{j \in M_i} \sum_k q_{ijk} \log \mathrm{softmax}(s_{ij} / T)_k

    An image without masked patches adds nothing and counts among the N, as in the authors' code.
    """

    def forward(self, online: Tensor, target: Tensor, masks: Tensor, mass: float = 1.0) -> Tensor:
        """
        Args:
            online: (M, K) logits of the masked patches of all images, image by image.
            target: (M, K) distributions of the same patches, which the target saw.
            masks: (N, L) or (N, h, w) bool, M of them True; on the CPU, or a GPU is waited for.

        Returns:
            Scalar, float32 or wider; 0 with a gradient of 0 where nothing is masked.
        """
        rows = self.rows(online, target, mass)
        return (rows * masked_weights(masks, rows)).sum()


def masked_weights(masks: Tensor, like: Tensor) -> Tensor:
    """Weight of each masked patch in the mean over images: masks (N, ...) bool -> (M,), in the order of the masks.

    Args:
        like: whose device and type they have.
    """
    masks = masks.flatten(1)
    share = 1 / (masks.sum(dim=1).clamp_min(1) * len(masks))
    return to_device(share[:, None].expand_as(masks)[masks].to(like.dtype), like.device)


@torch.no_grad()
def sharpened(logits: Tensor, center: Tensor, temperature: float) -> tuple[Tensor, Tensor]:
    """The target's distributions softmax((t - c) / T), and their entropies (DINO, sec. 3.1).

    Args:
        logits: (N, K).
        center: (K,), c.

    Returns:
        (N, K) and (N,), float32 or wider. The (N, K) result is the only array of that size that is made.
    """
    found = torch.empty(logits.shape, dtype=at_least_float32(logits[:0]).dtype, device=logits.device)
    entropies = found.new_empty(len(logits))
    shift = center.to(found.dtype) / -temperature
    for part in _blocks(logits):
        scaled = torch.add(shift, logits[part], alpha=1 / temperature)
        softmax = torch.softmax(scaled, dim=1, out=found[part])
        entropies[part] = _log_total(scaled, softmax) - scaled.mul_(softmax).sum(dim=1)
    return found, entropies


class _PrototypeCrossEntropy(torch.autograd.Function):
    """The loss and, of the same exponentials, its gradient but for the factor of each row that backward brings.

    That is all that is made and kept of the logits' size; they and the targets are not kept, though the logits are
    still there as it is made. Written plainly (divide, log-softmax, multiply) training keeps two float32 matrices a
    pair of views.
    """

    @staticmethod
    def forward(ctx, online: Tensor, target: Tensor, temperature: float, mass: float) -> Tensor:
        losses = torch.empty(len(online), dtype=target.dtype, device=online.device)
        kept = torch.empty_like(online, dtype=_dtype_kept(online)) if ctx.needs_input_grad[0] else None
        in_place = kept is not None and kept.dtype == target.dtype
        for part in _blocks(online):
            scaled = online[part].to(target.dtype) * (1 / temperature)
            softmax = torch.softmax(scaled, dim=1, out=kept[part] if in_place else None)
            losses[part] = mass * _log_total(scaled, softmax) - scaled.mul_(target[part]).sum(dim=1)
            if kept is not None:
                torch.sub(target[part], softmax, alpha=mass, out=kept[part])
        ctx.temperature, ctx.dtype = temperature, online.dtype
        ctx.save_for_backward(kept)
        return losses

    @staticmethod
    @once_differentiable
    def backward(ctx, grad: Tensor):
        (kept,) = ctx.saved_tensors
        gradient = torch.empty_like(kept, dtype=ctx.dtype)
        factors = (grad / -ctx.temperature).unsqueeze(1)
        for part in _blocks(kept):  # where types differ, torch casts what it multiplies as a whole
            torch.mul(kept[part], factors[part], out=gradient[part])
        return gradient, None, None, None


def _log_total(logits: Tensor, softmax: Tensor) -> Tensor:
    """Logarithm of each row's sum of exponentials, from its largest logit and that one's share."""
    return logits.amax(dim=1) - softmax.amax(dim=1).log()


def _dtype_kept(logits: Tensor) -> torch.dtype:
    """float16 holds gradients behind the scaled loss only, and what is kept is not scaled yet."""
    return torch.float32 if logits.dtype == torch.float16 else logits.dtype


def _blocks(matrix: Tensor) -> list[slice]:
    """Rows a few at a time, so that what is computed on the way stays small: in a core's cache on a CPU."""
    elements = 1 << (20 if matrix.device.type == 'cpu' else 24)
    rows = max(1, elements // max(1, matrix.shape[1]))
    return [slice(start, start + rows) for start in range(0, len(matrix), rows)]
