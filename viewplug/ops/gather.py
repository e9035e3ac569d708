"""Gathering over processes."""

import torch
from mmengine.dist import all_gather, get_world_size
from torch import Tensor


@torch.no_grad()
def gather_rows(rows: Tensor) -> Tensor:
    """Rows of all processes, in the order of their ranks and without gradient: (N, ...) -> (W * N, ...)."""
    if get_world_size() == 1:
        return rows.detach()
    return torch.cat(all_gather(rows.detach().contiguous()), dim=0)
