"""A checkpoint from time to time: it changes nothing of a run, and a crash loses no more than came behind it."""

import errno
from pathlib import Path

import pytest
import torch
from mmengine.hooks import Hook
from preempted_runs import EPOCH, Shuffled, differing, on_two_ranks, run
from processes import in_processes
from toy_runs import PIPELINE, log_of, toy_runner
from toys import ToyImages

from viewplug.hooks import preemption, within_epoch
from viewplug.hooks.epoch_seed import EpochSeedHook
from viewplug.hooks.preemption import PreemptionHook

OFTEN = 1e-9
"""Minutes: a timed checkpoint behind each step that is asked."""


class Crash(Hook):
    """Ends the run at the beginning of an iteration, with nothing saved."""

    def __init__(self, iteration: int) -> None:
        self.iteration = iteration

    def before_train_iter(self, runner, batch_idx, data_batch=None) -> None:
        if runner.iter == self.iteration:
            raise MemoryError


def test_timed_checkpoints_change_nothing_and_the_last_one_goes_when_all_is_saved(tmp_path):
    whole, unbroken = run(tmp_path / 'whole', hook=PreemptionHook(minutes=None))
    timed, same = run(tmp_path / 'timed', hook=PreemptionHook(minutes=OFTEN))
    assert same.losses == unbroken.losses and same.boxes == unbroken.boxes and not differing(whole, timed)
    said, nothing = log_of(tmp_path / 'timed'), log_of(tmp_path / 'whole')
    assert said.count('Saved timed.pth') == 3 * EPOCH and 'Saved timed.pth' not in nothing
    assert sorted(path.name for path in (tmp_path / 'timed').glob('*.pth*')) == [f'epoch_{n}.pth' for n in (1, 2, 3)]


@pytest.mark.parametrize('crash', [2, EPOCH + 3])
def test_a_crash_loses_what_came_behind_the_timed_checkpoint_and_no_more(crash, tmp_path):
    whole, unbroken = run(tmp_path / 'whole')
    with pytest.raises(MemoryError):
        run(tmp_path / 'broken', hook=PreemptionHook(minutes=OFTEN), more=[Crash(crash)])
    assert Path((tmp_path / 'broken/last_checkpoint').read_text()).name == 'timed.pth'
    again, after = run(tmp_path / 'broken', resume=True)
    assert after.losses == unbroken.losses[crash:] and not differing(whole, again)
    assert not (tmp_path / 'broken/timed.pth').exists()


def test_a_checkpoint_of_another_hook_puts_the_timed_one_off(tmp_path, monkeypatch):
    now = iter(range(10**6))
    monkeypatch.setattr(preemption.time, 'monotonic', lambda: 20 * next(now))  # seconds, from one look to the next
    checkpoint = dict(type='CheckpointHook', interval=2, by_epoch=False)
    run(tmp_path, hook=PreemptionHook(minutes=2), default_hooks=dict(checkpoint=checkpoint))
    assert 'Saved timed' not in log_of(tmp_path)
    run(tmp_path / 'seldom', hook=PreemptionHook(minutes=1))
    assert 'Saved timed.pth after iteration 3:' in log_of(tmp_path / 'seldom')


class Evaluation(Hook):
    """Takes a while at the end of each epoch, and is killed there in the last one."""

    def __init__(self, seconds: int, monkeypatch, killed: int | None = None, step: int = 20) -> None:
        self.seconds, self.killed, self.step, self.now = seconds, killed, step, 0
        monkeypatch.setattr(preemption.time, 'monotonic', lambda: self.now)

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None) -> None:
        self.now += self.step

    def after_train_epoch(self, runner) -> None:
        self.now += self.seconds
        if runner.epoch == self.killed:
            raise MemoryError


@pytest.mark.parametrize(
    ('killed', 'step'), [(1, 20), (0, 1 + preemption.EPOCH_END // EPOCH)], ids=['second', 'first of long epochs']
)
def test_what_is_killed_in_a_long_evaluation_loses_no_step_before_it(killed, step, tmp_path, monkeypatch):
    whole, unbroken = run(tmp_path / 'whole')
    with pytest.raises(MemoryError):
        run(tmp_path / 'broken', more=[Evaluation(40, monkeypatch, killed, step)])
    assert Path((tmp_path / 'broken/last_checkpoint').read_text()).name == 'timed.pth'
    again, after = run(tmp_path / 'broken', resume=True)
    done = killed + 1
    assert after.losses == unbroken.losses[done * EPOCH :] and not differing(whole, again)
    assert min(after.boxes) == done and (tmp_path / f'broken/epoch_{done}.pth').exists()
    assert after.boxes == {epoch: boxes for epoch, boxes in unbroken.boxes.items() if epoch >= done}


def test_short_evaluations_behind_short_epochs_are_not_saved_before(tmp_path, monkeypatch):
    run(tmp_path, more=[Evaluation(20, monkeypatch)])
    assert 'Saved timed' not in log_of(tmp_path)
    run(tmp_path / 'long', more=[Evaluation(40, monkeypatch)])
    said = log_of(tmp_path / 'long')  # not behind the first epoch, where none was known to be long
    assert said.count('Saved timed.pth') == 2 and f'Saved timed.pth after iteration {2 * EPOCH}:' in said
    run(tmp_path / 'never', hook=PreemptionHook(minutes=None), more=[Evaluation(40, monkeypatch)])
    assert 'Saved timed' not in log_of(tmp_path / 'never')


class Best(Hook):
    """A checkpoint without optimiser at each step, as CheckpointHook's save_best writes them."""

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None) -> None:
        runner.save_checkpoint(runner.work_dir, 'best.pth', save_optimizer=False, save_param_scheduler=False)


def test_the_best_checkpoint_is_none_to_go_on_from(tmp_path, monkeypatch):
    now = iter(range(10**6))
    monkeypatch.setattr(preemption.time, 'monotonic', lambda: 60 * next(now))
    run(tmp_path, hook=PreemptionHook(minutes=3), more=[Best()])
    assert 'Saved timed.pth after iteration 3:' in log_of(tmp_path)


def test_a_full_disk_ends_no_run_that_is_well(tmp_path, monkeypatch):
    def full(work_dir, name):
        raise OSError(errno.ENOSPC, 'No space left on device')

    whole, _ = run(tmp_path / 'whole')
    with monkeypatch.context() as patch:
        patch.setattr(within_epoch, '_put_in_place', full)
        timed, _ = run(tmp_path / 'timed', hook=PreemptionHook(minutes=OFTEN))
    assert not differing(whole, timed)
    assert 'timed.pth could not be saved after iteration 1: [Errno 28] No space left on device' in log_of(tmp_path)
    assert sorted(path.name for path in (tmp_path / 'timed').glob('*.pth*')) == [f'epoch_{n}.pth' for n in (1, 2, 3)]


def test_a_signal_leaves_one_checkpoint_within_the_epoch(tmp_path):
    run(tmp_path, EPOCH + 2, hook=PreemptionHook(minutes=OFTEN))
    assert sorted(path.name for path in tmp_path.glob('*.pth')) == ['epoch_1.pth', 'preempted.pth']


def test_no_timed_checkpoint_where_an_epoch_cannot_be_taken_up(tmp_path):
    """Its first batches would be trained on twice."""
    run(tmp_path / 'loop', loop='EpochBasedTrainLoop', hook=PreemptionHook(minutes=OFTEN))
    run(tmp_path / 'sampler', sampler=dict(type=Shuffled), hook=PreemptionHook(minutes=OFTEN))
    assert 'Saved timed' not in log_of(tmp_path)


def test_loops_of_iterations_are_saved_in_time_too(tmp_path):
    loop = dict(type='IterBasedTrainLoop', max_iters=4)
    images = ToyImages(pipeline=PIPELINE, number=8 * EPOCH)
    hooks = [EpochSeedHook(), PreemptionHook(minutes=OFTEN), Crash(3)]
    default = dict(checkpoint=dict(type='CheckpointHook', interval=10, by_epoch=False))
    with pytest.raises(MemoryError):
        toy_runner(tmp_path, hooks, train_cfg=loop, dataset=images, default_hooks=default).train()
    again = toy_runner(tmp_path, hooks[:2], train_cfg=loop, dataset=images, default_hooks=default, resume=True)
    assert torch.load(tmp_path / 'timed.pth', weights_only=False)['meta']['iter'] == 3
    again.train()
    assert again.iter == 4


@pytest.mark.parametrize('minutes', [0, -1])
def test_minutes_that_make_no_sense_are_refused(minutes):
    with pytest.raises(ValueError, match='PreemptionHook: minutes must be above 0, or None'):
        PreemptionHook(minutes=minutes)


def test_timed_checkpoints_of_two_processes_leave_each_its_own_running_statistics(tmp_path):
    """The file has their mean, as that of a signal; the run goes on as without."""
    ranks = {}
    for name, minutes in (('whole', None), ('timed', OFTEN)):
        (tmp_path / name).mkdir()
        ranks[name] = in_processes(on_two_ranks, tmp_path / name, str(tmp_path / name), None, False, minutes)
    assert log_of(tmp_path / 'timed').count('Saved timed.pth') == 3  # behind steps 3, 6 and 9
    for (losses, state), (same, found) in zip(ranks['whole'], ranks['timed'], strict=True):
        assert losses == same and all(torch.equal(value, found[key]) for key, value in state.items())
