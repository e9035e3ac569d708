"""Gathering over processes."""

import torch
import torch.distributed
from mmengine.dist import all_gather, all_reduce, get_rank, get_world_size
from torch import Tensor

from viewplug.devices import to_device


@torch.no_grad()
def gather_rows(rows: Tensor) -> Tensor:
    """Rows of all processes, in the order of their ranks and without gradient: (N, ...) -> (W * N, ...)."""
    if get_world_size() == 1:
        return rows.detach()
    return torch.cat(all_gather(rows.detach().contiguous()), dim=0)


@torch.no_grad()
def exchange_rows(rows: Tensor, order: Tensor) -> Tensor:
    """This process's N rows of ``gather_rows(rows)[order]``, without gathering.

    A process sends N rows and receives N, however many processes there are; a gather receives W N.

    Args:
        rows: (N, ...), the same N on every process.
        order: (W N,) int64, a permutation, the same on every process; on the CPU, or a GPU is waited for.
    """
    world, rank, number = get_world_size(), get_rank(), len(rows)
    order = order.cpu().view(world, number)  # the sizes of what is sent are needed there
    if world == 1:
        return rows.detach()[to_device(order[0], rows.device)]
    home = order // number
    asked = home == rank
    sent = rows.detach()[to_device(order[asked] - rank * number, rows.device)].contiguous()
    received = torch.empty_like(sent)
    sizes = torch.bincount(home[rank], minlength=world).tolist(), asked.sum(dim=1).tolist()
    torch.distributed.all_to_all_single(received, sent, *sizes)
    # What comes lies by the process that it comes from.
    places = home[rank].argsort(stable=True)
    return received[to_device(torch.argsort(places), rows.device)]


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
