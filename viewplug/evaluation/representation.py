"""How healthy a batch of embeddings is: collapse, rank, alignment, uniformity. Plain functions on (N, D) tensors."""

import torch
import torch.nn.functional as F
from torch import Tensor


def embedding_std(embeddings: Tensor) -> Tensor:
    """Spread of the unit-length embeddings over the batch, in units of the isotropic case.

    Mean over dimensions of the standard deviation, times sqrt(D): 0 when all rows are the same vector, 1 when
    directions are spread evenly. Chen & He, SimSiam, CVPR 2021, sec. 4.1 (there plotted without the factor).
    """
    embeddings = F.normalize(embeddings.float(), dim=1)
    return embeddings.std(dim=0, unbiased=False).mean() * embeddings.shape[1] ** 0.5


def effective_rank(embeddings: Tensor, max_rows: int = 1024) -> Tensor:
    """exp(entropy of the normalised singular values), between 1 and min(N, D).

    Roy & Vetterli, "The effective rank", EUSIPCO 2007; as a measure of representations: Garrido et al., RankMe,
    ICML 2023, sec. 3.1. The matrix is not centred. More than ``max_rows`` rows are thinned evenly.
    """
    singular = torch.linalg.svdvals(thin(embeddings, max_rows).float())
    share = singular / singular.sum().clamp_min(torch.finfo(singular.dtype).tiny)
    return torch.special.entr(share).sum().exp()


def alignment(online: Tensor, target: Tensor, alpha: float = 2) -> Tensor:
    """Mean distance^alpha of positive pairs on the unit sphere, 0 (the same) to 2^alpha (opposite); lower is closer.

    Wang & Isola, "Understanding Contrastive Representation Learning through Alignment and Uniformity", ICML 2020,
    eq. 3; ``online`` and ``target`` (N, D), row i of both from image i.
    """
    distance = F.normalize(online.float(), dim=1) - F.normalize(target.float(), dim=1)
    return distance.norm(dim=1).pow(alpha).mean()


def positive_similarity(online: Tensor, target: Tensor) -> Tensor:
    """Mean cosine of positive pairs, -1 to 1; lower means harder pairs (ContrastiveCrop, sec. 4.4, fig. 5).

    It is 1 - alignment / 2 at ``alpha=2``; ``online`` and ``target`` as there.
    """
    return F.cosine_similarity(online.float(), target.float(), dim=1).mean()


def uniformity(embeddings: Tensor, t: float = 2, max_rows: int = 1024) -> Tensor:
    """log of the mean Gaussian potential over pairs of rows, 0 (one point) down to about -2t; lower is more even.

    Wang & Isola, ICML 2020, eq. 4. More than ``max_rows`` rows are thinned evenly.
    """
    embeddings = F.normalize(thin(embeddings, max_rows).float(), dim=1)
    return torch.pdist(embeddings).pow(2).mul(-t).exp().mean().log()


def thin(rows: Tensor, max_rows: int) -> Tensor:
    """At most ``max_rows`` of the rows, evenly spaced."""
    if len(rows) <= max_rows:
        return rows
    return rows[torch.linspace(0, len(rows) - 1, max_rows, device=rows.device).round().long()]
