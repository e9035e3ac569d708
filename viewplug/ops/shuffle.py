"""Spreading the images of a global batch over the processes at random, and their embeddings back (MoCo, sec. 3.3)."""

import torch
from mmengine.dist import broadcast, get_world_size
from torch import Tensor

from viewplug.devices import to_device
from viewplug.ops.gather import exchange_rows


def shuffle(images: Tensor) -> tuple[Tensor, Tensor]:
    """This process's share of the global batch in a random order, and that order, on the CPU."""
    order = to_device(torch.randperm(get_world_size() * len(images)), images.device)
    broadcast(order, src=0)
    order = order.cpu()
    return exchange_rows(images, order), order


def unshuffle(rows: Tensor, order: Tensor) -> Tensor:
    """Rows computed in ``order`` back to the processes that their images came from."""
    return exchange_rows(rows, torch.argsort(order))
