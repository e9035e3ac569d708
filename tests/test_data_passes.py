"""Passes over the data in loops that count iterations: frozen prototypes thaw, and DINO's temperature rises."""

from types import SimpleNamespace

import pytest
from mmengine.dataset import DefaultSampler, InfiniteSampler
from mmengine.hooks import CheckpointHook, Hook
from mmengine.runner import EpochBasedTrainLoop, IterBasedTrainLoop
from torch.utils.data import DataLoader, IterableDataset
from toy_runs import toy_runner

from viewplug.data_passes import ITERS_PER_PASS, iters_per_pass, passes_done, tell_iters_per_pass
from viewplug.heads import DistillHead, distill

BRANCH = dict(
    neck=dict(type='viewplug.DINONeck', out_channels=24, hidden_channels=16, bottleneck_channels=8),
    head=dict(type='viewplug.DistillHead', warmup_epochs=3),
)
PROTOTYPES = 'branches.image.neck.last_layer.parametrizations.weight.original1'
SEED, FREEZE = dict(type='viewplug.EpochSeedHook'), dict(type='viewplug.FreezeLastLayerHook', epochs=1)
CLIP = dict(type='viewplug.ClipEachGradientHook', max_norm=3.0)


class Prototypes(Hook):
    """The prototypes before the run and behind every step."""

    priority = 'VERY_LOW'

    def __init__(self) -> None:
        self.seen = []

    def before_train(self, runner) -> None:
        self.seen.append(runner.model.state_dict()[PROTOTYPES].clone())

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None) -> None:
        self.before_train(runner)

    def moved(self) -> list[bool]:
        return [bool((a != b).any()) for a, b in zip(self.seen, self.seen[1:], strict=False)]


def run(work_dir, hooks, monkeypatch, max_iters=6, **changes):
    """16 images in batches of 8: which steps moved the prototypes, and the epochs of the temperatures."""
    diary, epochs, temperature_at = Prototypes(), [], DistillHead.temperature_at
    runner = toy_runner(
        work_dir,
        [*hooks, diary],
        branch=BRANCH,
        train_cfg=dict(type='IterBasedTrainLoop', max_iters=max_iters),
        default_hooks=dict(checkpoint=CheckpointHook(interval=3, by_epoch=False)),
        log_processor=dict(by_epoch=False),
        **changes,
    )
    runner._train_dataloader['sampler'] = dict(type='InfiniteSampler', shuffle=True)
    with monkeypatch.context() as patch:
        patch.setattr(DistillHead, 'temperature_at', lambda self, at: epochs.append(at) or temperature_at(self, at))
        runner.train()
    return diary.moved(), epochs


@pytest.mark.parametrize('hooks', [[SEED, FREEZE], [FREEZE]], ids=['seed', 'freeze alone'])
def test_prototypes_thaw_and_the_temperature_rises_after_as_many_passes(hooks, tmp_path, monkeypatch):
    moved, epochs = run(tmp_path, hooks, monkeypatch)
    assert moved == [False, False, True, True, True, True] and epochs == [0, 0, 1, 1, 2, 2]


def test_a_resumed_run_counts_on(tmp_path, monkeypatch):
    run(tmp_path, [SEED, FREEZE], monkeypatch, max_iters=3)
    moved, epochs = run(tmp_path, [SEED, FREEZE], monkeypatch, resume=True)
    assert moved == [True, True, True] and epochs == [1, 2, 2]


@pytest.mark.parametrize('hook', [SEED, CLIP], ids=['seed', 'clip'])
def test_one_hook_of_ours_is_enough_for_the_temperature(hook, tmp_path, monkeypatch):
    assert run(tmp_path, [hook], monkeypatch, max_iters=4)[1] == [0, 0, 1, 1]


def test_where_nobody_counts_passes_a_warm_up_that_stands_still_is_said_once(tmp_path, monkeypatch):
    said = []
    monkeypatch.setattr(distill, 'print_log', lambda text, *args: said.append(text))
    assert run(tmp_path, [], monkeypatch, max_iters=4)[1] == [0, 0, 0, 0]
    assert len(said) == 1 and 'warmup_epochs=3 counts epochs' in said[0] and 'viewplug.EpochSeedHook' in said[0]
    with monkeypatch.context() as patch:
        patch.setitem(BRANCH['head'], 'warmup_epochs', 0)
        assert run(tmp_path, [], monkeypatch, max_iters=1)[1] == [0]
    assert len(said) == 1


def runner_of(dataset, loop, sampler=None, world_size=1, **changes):
    loader = DataLoader(dataset, sampler=sampler, **changes)
    made = loop.__new__(loop)
    return SimpleNamespace(train_dataloader=loader, train_loop=made, world_size=world_size, iter=13, epoch=4)


def test_a_pass_is_shared_by_the_processes_also_where_a_sampler_counts_all_images():
    images = range(24)
    assert iters_per_pass(runner_of(images, IterBasedTrainLoop, InfiniteSampler(images, seed=0), batch_size=4)) == 6
    shared = runner_of(images, IterBasedTrainLoop, InfiniteSampler(images, seed=0), world_size=2, batch_size=4)
    assert iters_per_pass(shared) == 3 and passes_done(shared) == 4
    one = runner_of(images, IterBasedTrainLoop, DefaultSampler(images, seed=0), batch_size=5)
    assert iters_per_pass(one) == 5 and passes_done(one) == 2
    assert passes_done(runner_of(images, EpochBasedTrainLoop, batch_size=5)) == 4
    few = runner_of(range(3), IterBasedTrainLoop, InfiniteSampler(range(3), seed=0), batch_size=4, drop_last=True)
    assert iters_per_pass(few) == 1


class Stream(IterableDataset):
    def __iter__(self):
        return iter(range(6))


def test_a_data_set_without_a_length_is_told_of_by_nobody():
    told = {}
    runner = runner_of(Stream(), IterBasedTrainLoop)
    runner.message_hub = SimpleNamespace(runtime_info=told)
    tell_iters_per_pass(runner)
    assert told == {}
    runner = runner_of(range(6), IterBasedTrainLoop, batch_size=2)
    runner.message_hub = SimpleNamespace(runtime_info=told)
    tell_iters_per_pass(runner)
    assert told == {ITERS_PER_PASS: 3}
