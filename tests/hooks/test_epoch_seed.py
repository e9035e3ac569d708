"""EpochSeedHook: no epoch, rank or worker repeats the random numbers of another."""

import random

import numpy as np
import pytest
import torch
from mmengine.dist import get_rank
from processes import in_processes
from toy_runs import Diary, log_of, toy_runner

from viewplug.hooks.epoch_seed import EpochSeedHook, seed_process


def boxes_of(epoch: dict[int, list]) -> set[tuple]:
    return {tuple(np.round(box, 5)) for views in epoch.values() for box in views}


@pytest.mark.parametrize('num_workers', [0, 2])
def test_every_epoch_and_every_worker_cuts_other_crops(num_workers, tmp_path):
    diary = Diary()
    toy_runner(tmp_path, [EpochSeedHook(), diary], num_workers=num_workers, max_epochs=3).train()
    assert [len(epoch) for epoch in diary.boxes.values()] == [16, 16, 16]
    crops = [boxes_of(epoch) for epoch in diary.boxes.values()]
    # 32 views an epoch; one that is the whole image may repeat.
    assert all(len(boxes) >= 30 for boxes in crops)
    assert len(set.union(*crops)) >= 90


def crops_on_a_rank(folder):
    diary = Diary()
    toy_runner(
        f'{folder}/{get_rank()}',
        [EpochSeedHook(), diary],
        max_epochs=1,
        cfg=dict(model_wrapper_cfg=dict(type='MMDistributedDataParallel', device_ids=None, broadcast_buffers=False)),
    ).train()
    return diary.boxes[0]


def test_two_ranks_cut_other_crops(tmp_path):
    first, second = in_processes(crops_on_a_rank, tmp_path, str(tmp_path))
    assert len(first) == len(second) == 8 and not set(first) & set(second)
    assert len(boxes_of(first) | boxes_of(second)) >= 30


def draws() -> tuple:
    return random.random(), float(np.random.rand()), float(torch.rand(()))


def test_the_seed_depends_on_seed_epoch_and_rank_and_on_nothing_else():
    found = {}
    for key in [(0, 0, 0), (1, 0, 0), (0, 1, 0), (0, 0, 1), (0, 1, 1), (1, 1, 0)]:
        draws()
        seed_process(*key)
        found[key] = draws()
        seed_process(*key)
        assert draws() == found[key]
    for numbers in zip(*found.values(), strict=True):
        assert len(set(numbers)) == len(found)


@pytest.mark.parametrize('persistent', [False, True])
def test_persistent_workers_are_named_in_the_log_as_what_breaks_exact_resume(persistent, tmp_path):
    hooks = [EpochSeedHook(), Diary(stop_before=0)]
    with pytest.raises(KeyboardInterrupt):
        toy_runner(tmp_path, hooks, num_workers=1, persistent_workers=persistent).train()
    assert ('persistent_workers=True, so a resumed run will not repeat' in log_of(tmp_path)) == persistent
