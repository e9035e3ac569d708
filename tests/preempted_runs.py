"""Runs that a signal ends in the middle of an epoch, and whole ones beside them."""

import os
import signal
from pathlib import Path

import pytest
import torch
from mmengine.dist import get_rank
from mmengine.hooks import Hook
from torch.utils.data import RandomSampler
from toy_runs import PIPELINE, Diary, toy_runner
from toys import ToyImages

from viewplug.hooks.epoch_seed import EpochSeedHook
from viewplug.hooks.preemption import EXIT_STATUS, Preempted, PreemptionHook
from viewplug.hooks.resume_check import ResumeCheckHook

EPOCH = 5  # batches


class Kill(Hook):
    """Sends SIGTERM in a step, to the process of one rank."""

    def __init__(self, iteration: int | None, rank: int = 0, number: int = signal.SIGTERM) -> None:
        self.iteration, self.rank, self.number = iteration, rank, number

    def before_train_iter(self, runner, batch_idx, data_batch=None) -> None:
        if runner.iter == self.iteration and runner.rank == self.rank:
            os.kill(os.getpid(), self.number)


def run(work_dir, kill: int | None = None, loop='viewplug.EpochLoop', hook=None, rank=0, more=(), **changes):
    """The runner and what its Diary holds, until the end or the signal in iteration ``kill``."""
    diary = Diary()
    hooks = [EpochSeedHook(), ResumeCheckHook(), Kill(kill, rank), diary, *more, hook or PreemptionHook()]
    runner = toy_runner(
        work_dir,
        hooks,
        train_cfg=dict(type=loop, max_epochs=3),
        **{'dataset': ToyImages(pipeline=PIPELINE, number=8 * EPOCH), **changes},
    )
    if kill is None:
        runner.train()
    else:
        with pytest.raises(Preempted) as stopped:
            runner.train()
        assert stopped.value.code == EXIT_STATUS == 143
    return runner, diary


def differing(one, other) -> list[str]:
    """Names of weights, running statistics and momenta that differ in a bit."""
    pairs = {key: (value, other.model.state_dict()[key]) for key, value in one.model.state_dict().items()}
    for place, state in one.optim_wrapper.state_dict()['state'].items():
        momentum = other.optim_wrapper.state_dict()['state'][place]['momentum_buffer']
        pairs[f'momentum of {place}'] = state['momentum_buffer'], momentum
    return [key for key, two in pairs.items() if not torch.equal(*two)]


class Shuffled(RandomSampler):
    def __init__(self, dataset, seed=None) -> None:
        super().__init__(dataset)


def on_two_ranks(folder, kill, resume, minutes=None):
    os.environ['LOCAL_RANK'] = str(get_rank())  # mmengine reads it where it wraps the model
    runner, diary = run(
        Path(folder) / 'work',
        kill,
        rank=1,
        resume=resume,
        hook=PreemptionHook(interval=3, minutes=minutes),
        launcher='pytorch',
        cfg=dict(model_wrapper_cfg=dict(type='MMDistributedDataParallel', device_ids=None, broadcast_buffers=False)),
    )
    return diary.losses, {name: value.clone() for name, value in runner.model.module.state_dict().items()}
