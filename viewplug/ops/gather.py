"""Gathering over processes."""

import torch
from mmengine.dist import all_gather, all_reduce, get_rank, get_world_size
from torch import Tensor


@torch.no_grad()
def gather_rows(rows: Tensor) -> Tensor:
    """Rows of all processes, in the order of their ranks and without gradient: (N, ...) -> (W * N, ...)."""
    if get_world_size() == 1:
        return rows.detach()
    return torch.cat(all_gather(rows.detach().contiguous()), dim=0)


def gather_rows_with_grad(rows: Tensor) -> Tensor:
    """:func:`gather_rows` with gradient: each process gets the sum of what all processes' losses ask of its rows.

    So where every process takes the mean loss of its own rows against everybody's, the average of the processes'
    parameter gradients (DDP's) is the gradient of the loss of the whole batch. Every process must take part in
    backward.
    """
    return rows if get_world_size() == 1 else _GatherRows.apply(rows)


class _GatherRows(torch.autograd.Function):
    @staticmethod
    def forward(ctx, rows: Tensor) -> Tensor:
        return gather_rows(rows)

    @staticmethod
    def backward(ctx, grad: Tensor) -> Tensor:
        grad = grad.clone(memory_format=torch.contiguous_format)  # all_reduce works in place
        all_reduce(grad)
        return grad.view(get_world_size(), -1, *grad.shape[1:])[get_rank()]
