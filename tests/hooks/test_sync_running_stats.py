"""Several processes run as one network: what reads running statistics finds the same, and a resumed run goes on."""

import os
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.dist import get_rank
from mmengine.hooks import Hook
from processes import in_processes
from toy_runs import PIPELINE, Diary, toy_runner
from toys import ToyBackbone, ToyImages, mlp_branch

from viewplug.hooks import EpochSeedHook, SyncRunningStatsHook

ROOT = Path(__file__).resolve().parents[2]
EMAN = dict(type='viewplug.MomentumTarget', momentum=0.9, eman=True)
ITERATIONS = dict(by_epoch=False, max_iters=2)


class Reader(Hook):
    """Running statistics, online and target, wherever a hook as KNNHook or LocalizationHook might read them."""

    def __init__(self, by_epoch: bool) -> None:
        self.by_epoch, self.seen = by_epoch, {}

    def read(self, runner, when: str) -> None:
        state = runner.model.module.state_dict()
        found = [value.flatten() for key, value in state.items() if 'running' in key]
        self.seen[f'{when} {runner.iter}'] = torch.cat(found).clone()

    def before_train_epoch(self, runner) -> None:
        self.read(runner, 'before epoch')

    def after_train_epoch(self, runner) -> None:
        self.read(runner, 'after epoch')

    def before_train_iter(self, runner, batch_idx, data_batch=None) -> None:
        if not self.by_epoch:
            self.read(runner, 'before')

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None) -> None:
        if not self.by_epoch:
            self.read(runner, 'after')


def distributed_runner(work_dir, hooks=(), **settings):
    os.environ['LOCAL_RANK'] = str(get_rank())  # mmengine reads it where it wraps the model
    wrapper = dict(type='MMDistributedDataParallel', device_ids=None, broadcast_buffers=False)
    return toy_runner(
        work_dir,
        [EpochSeedHook(), *hooks],
        backbone=ToyBackbone(batch_norm=True),
        branch=mlp_branch(queue_len=12),
        dataset=ToyImages(32, pipeline=PIPELINE),
        max_epochs=2,
        target=EMAN,
        default_hooks=dict(running_stats=dict(type='viewplug.SyncRunningStatsHook')),
        launcher='pytorch',
        cfg=dict(model_wrapper_cfg=wrapper),
        **settings,
    )


def runs_of_a_rank(folder) -> dict:
    whole, rest, reader = Diary(), Diary(), Reader(by_epoch=True)
    unbroken = distributed_runner(f'{folder}/whole', [whole, reader])
    unbroken.train()
    again = distributed_runner(f'{folder}/rest', [rest], resume=True, load_from=f'{folder}/whole/epoch_1.pth')
    again.train()
    seen = dict(epochs=reader.seen)
    for name, train_cfg in (('epochs, a hook by iteration', None), ('iterations', ITERATIONS)):
        reader = Reader(by_epoch=False)
        distributed_runner(f'{folder}/{name}', [reader], train_cfg=train_cfg).train()
        seen[name] = reader.seen
    states = [run.model.module.state_dict() for run in (unbroken, again)]
    return dict(losses=(whole.losses, rest.losses), states=states, seen=seen)


@pytest.fixture(scope='module')
def ranks(tmp_path_factory) -> list[dict]:
    folder = tmp_path_factory.mktemp('ranks')
    return in_processes(runs_of_a_rank, folder, folder / 'runs')


def test_two_processes_resumed_at_an_epochs_end_repeat_the_unbroken_run_to_the_bit(ranks):
    for rank in ranks:
        whole, rest = rank['losses']
        assert len(rest) == len(whole) / 2 and whole[len(rest) :] == rest
        unbroken, again = rank['states']
        assert [key for key, value in unbroken.items() if not torch.equal(value, again[key])] == []
    assert ranks[0]['losses'] != ranks[1]['losses']
    state, other = (rank['states'][0] for rank in ranks)
    assert [key for key, value in state.items() if not torch.equal(value, other[key])] == []


@pytest.mark.parametrize(
    ('run', 'places'), [('epochs', 2 * 2), ('epochs, a hook by iteration', 2 * 2 + 2 * 4), ('iterations', 2 + 2 * 2)]
)
def test_wherever_a_hook_reads_running_statistics_the_processes_have_the_same(run, places, ranks):
    first, second = (rank['seen'][run] for rank in ranks)
    assert len(first) == places and first.keys() == second.keys()
    assert [when for when, value in first.items() if not torch.equal(value, second[when])] == []
    assert not torch.equal(*[list(first.values())[place] for place in (0, -1)])


def test_every_config_on_the_default_runtime_has_the_hook():
    hooks = Config.fromfile(ROOT / 'configs/mocov2_r50.py').default_hooks
    assert hooks.running_stats.type == f'viewplug.{SyncRunningStatsHook.__name__}'
    assert SyncRunningStatsHook.priority == 'VERY_HIGH'
