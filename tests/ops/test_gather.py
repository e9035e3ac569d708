"""Rows exchanged between processes are those that a gather would give."""

import pytest
import torch
from mmengine.dist import get_rank, get_world_size
from processes import in_processes

from viewplug.ops.gather import exchange_rows, gather_rows

ROWS, ORDERS = 3, 6


def exchanged_on_a_rank() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """What comes of some orders, what a gather would give, and what comes back."""
    world, rank = get_world_size(), get_rank()
    generator = torch.Generator().manual_seed(5)
    found, expected, back = [], [], []
    for _ in range(ORDERS):
        mine = torch.randn(world, ROWS, 2, 2, generator=generator)[rank]
        order = torch.randperm(world * ROWS, generator=generator)
        found.append(exchange_rows(mine, order))
        expected.append(gather_rows(mine)[order].view(world, ROWS, 2, 2)[rank])
        back.append(torch.equal(exchange_rows(found[-1], torch.argsort(order)), mine))
    return torch.stack(found), torch.stack(expected), torch.tensor(back)


@pytest.mark.parametrize('world', [2, 5])
def test_exchanged_rows_are_those_of_a_gather_and_come_back(tmp_path, world):
    for found, expected, back in in_processes(exchanged_on_a_rank, tmp_path, count=world):
        assert torch.equal(found, expected) and back.all()


def test_one_process_reorders_its_rows():
    rows, order = torch.randn(5, 2), torch.tensor([3, 0, 4, 1, 2])
    assert torch.equal(exchange_rows(rows, order), rows[order])
