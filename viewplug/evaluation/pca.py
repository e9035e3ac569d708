"""Principal components of embeddings, on the device where they are."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass
class Projection:
    """Attributes:
    mean: (D,) of the rows it was fitted on.
    basis: (D, k) orthonormal columns, the direction of the largest variance first.
    """

    mean: Tensor
    basis: Tensor

    def __call__(self, rows: Tensor) -> Tensor:
        """(N, D) -> (N, k); its first columns are the projection to fewer components."""
        return (rows - self.mean) @ self.basis


def fit_pca(rows: Tensor, components: int) -> Projection:
    """The first ``components`` principal directions of (N, D) ``rows``, through their D x D covariance in float64."""
    mean = rows.mean(dim=0, dtype=torch.float64)
    covariance = torch.zeros(rows.shape[1], rows.shape[1], dtype=torch.float64, device=rows.device)
    for chunk in rows.split(8192):
        centred = chunk.double() - mean
        covariance += centred.T @ centred
    directions = torch.linalg.eigh(covariance).eigenvectors.flip(1)[:, :components]
    return Projection(mean.to(rows.dtype), directions.to(rows.dtype))
