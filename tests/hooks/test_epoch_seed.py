"""EpochSeedHook: no epoch, rank or worker repeats the random numbers of another."""

import random

import numpy as np
import pytest
import torch
from mmengine.dist import get_rank
from mmengine.hooks import CheckpointHook
from processes import in_processes
from toy_runs import Diary, log_of, toy_runner
from toys import ToyImages

from viewplug.datasets import InMemoryDataset
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


CUT = [dict(type='viewplug.RandomResizedCrop', scale=32, crop_ratio_range=(0.2, 1.0))]
IN_BATCH = dict(
    type='viewplug.BatchViews', transforms=[CUT], num_views=2, mean=[127.5] * 3, std=[127.5] * 3, non_blocking=False
)


class Losses(Diary):
    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None) -> None:
        self.losses.append(outputs['loss'].item())


def iterations(work_dir, max_iters: int, in_batch: bool, resume: bool = False) -> list[float]:
    """Losses of an iteration-based run."""
    diary = Losses()
    views = dict(
        dataset=InMemoryDataset(ToyImages(pipeline=[])),
        collate_fn=dict(type='viewplug.take_batch'),
        data_preprocessor=IN_BATCH,
    )
    runner = toy_runner(
        work_dir,
        [EpochSeedHook(), diary],
        train_cfg=dict(type='IterBasedTrainLoop', max_iters=max_iters),
        default_hooks=dict(checkpoint=CheckpointHook(interval=3, by_epoch=False)),
        log_processor=dict(by_epoch=False),
        resume=resume,
        **(views if in_batch else {}),
    )
    runner._train_dataloader['sampler'] = dict(type='InfiniteSampler', shuffle=True)
    runner.param_schedulers = None
    runner.train()
    return diary.losses


@pytest.mark.parametrize('in_batch', [False, True])
def test_a_resumed_iteration_based_run_says_so_where_it_does_not_repeat_the_unbroken_one(in_batch, tmp_path):
    said = 'of an iteration-based loop, so this run will not repeat the unbroken one exactly'
    whole = iterations(tmp_path / 'whole', 6, in_batch)
    iterations(tmp_path / 'broken', 3, in_batch)
    assert said not in log_of(tmp_path / 'whole') + log_of(tmp_path / 'broken')
    resumed = iterations(tmp_path / 'broken', 6, in_batch, resume=True)
    assert (said in log_of(tmp_path / 'broken')) != in_batch
    assert (resumed == whole[3:]) == in_batch


@pytest.mark.parametrize('processes', [1, 2])
def test_a_run_resumed_by_another_number_of_processes_says_so(processes, tmp_path):
    toy_runner(tmp_path, [EpochSeedHook()], max_epochs=1).train()
    path = tmp_path / 'epoch_1.pth'
    checkpoint = torch.load(path, weights_only=False)
    assert checkpoint['meta']['world_size'] == 1
    checkpoint['meta']['world_size'] = processes
    torch.save(checkpoint, path)
    toy_runner(tmp_path, [EpochSeedHook()], resume=True, load_from=str(path)).train()
    assert ('the checkpoint is of 2 process(es) and this run has 1' in log_of(tmp_path)) is (processes == 2)
