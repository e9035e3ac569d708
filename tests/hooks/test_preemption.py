"""SIGTERM: everything is saved, and the resumed run takes up its epoch as the unbroken one goes through it."""

import copy
import multiprocessing
import os
import signal
import subprocess
from pathlib import Path

import pytest
import torch
from mmengine.hooks import Hook
from preempted_runs import EPOCH, Shuffled, differing, on_two_ranks, run
from processes import in_processes
from toy_runs import PIPELINE, log_of, toy_runner
from toys import ToyImages

from viewplug.hooks import LocalizationHook, preemption
from viewplug.hooks.preemption import PreemptionHook

CONTRASTIVE = copy.deepcopy(PIPELINE)
CONTRASTIVE[0]['transforms'][0][0]['type'] = 'viewplug.ContrastiveCrop'


@pytest.mark.parametrize('kill', [0, 1, EPOCH - 1, EPOCH + 2, 3 * EPOCH - 1])
def test_a_preempted_run_resumed_in_its_epoch_repeats_the_unbroken_one_to_the_bit(kill, tmp_path):
    whole, unbroken = run(tmp_path / 'whole')
    _, before = run(tmp_path / 'broken', kill)
    checkpoint = Path((tmp_path / 'broken/last_checkpoint').read_text())
    assert checkpoint == tmp_path / 'broken/preempted.pth' and not checkpoint.with_suffix('.pth.part').exists()
    again, after = run(tmp_path / 'broken', resume=True)
    assert len(before.losses) == kill + 1 and before.losses + after.losses == unbroken.losses
    epoch = kill // EPOCH
    assert after.boxes.get(epoch, {}).keys() == unbroken.boxes[epoch].keys() - before.boxes[epoch].keys()
    both = {epoch: before.boxes.get(epoch, {}) | after.boxes.get(epoch, {}) for epoch in unbroken.boxes}
    assert both == unbroken.boxes
    assert not differing(whole, again)
    assert again.iter == whole.iter and again.epoch == whole.epoch == 3
    said = log_of(tmp_path / 'broken')
    assert 'WARNING - ResumeCheckHook' not in said and 'is not defined in message_hub' not in said


def test_the_log_of_the_rest_of_an_epoch_counts_its_batches_on(tmp_path):
    run(tmp_path, EPOCH + 2)
    said = log_of(tmp_path)
    assert f'SIGTERM: stopped after iteration {EPOCH + 3} of {3 * EPOCH}; all is saved in {tmp_path}/preempted' in said
    run(tmp_path, resume=True)
    rest = log_of(tmp_path)[len(said) :]
    assert f'[2][{EPOCH - 1}/{EPOCH}]' in rest and f'[2][3/{EPOCH}]' not in rest


def test_a_second_preemption_replaces_the_first_ones_file(tmp_path):
    run(tmp_path / 'broken', 1)
    run(tmp_path / 'broken', 3, resume=True)
    again, _ = run(tmp_path / 'broken', resume=True)
    whole, _ = run(tmp_path / 'whole')
    assert not differing(whole, again)
    assert len(list((tmp_path / 'broken').glob('preempted*'))) == 1


def test_accumulated_gradients_are_not_lost(tmp_path):
    """The signal is heeded behind the optimiser's step."""
    whole, unbroken = run(tmp_path / 'whole', accumulative_counts=3)
    _, before = run(tmp_path / 'broken', 6, accumulative_counts=3)
    assert len(before.losses) == 9
    again, after = run(tmp_path / 'broken', resume=True, accumulative_counts=3)
    assert before.losses + after.losses == unbroken.losses and not differing(whole, again)


def test_with_another_batch_size_the_epoch_begins_again_and_the_log_says_so(tmp_path):
    run(tmp_path, EPOCH + 2)
    runner, after = run(tmp_path, resume=True, batch_size=4)
    assert len(after.losses) == 2 * 2 * EPOCH and runner.iter == 3 * 2 * EPOCH
    assert 'goes on at the beginning of epoch 2' in log_of(tmp_path)


def test_as_many_batches_of_another_size_are_other_batches(tmp_path):
    run(tmp_path, EPOCH + 2)
    runner, after = run(tmp_path, resume=True, batch_size=9)
    assert len(runner.train_dataloader) == EPOCH and len(after.boxes[1]) == 8 * EPOCH


def test_a_seed_that_was_drawn_is_the_rests_too(tmp_path):
    """The sampler is built before mmengine takes the seed from the checkpoint."""
    _, before = run(tmp_path, EPOCH + 2, randomness=dict(seed=None))
    _, after = run(tmp_path, resume=True, randomness=dict(seed=None))
    assert sorted([*before.boxes[1], *after.boxes[1]]) == list(range(8 * EPOCH))


def test_a_sampler_that_draws_from_torchs_generator_begins_its_epoch_again(tmp_path):
    sampler = dict(type=Shuffled)
    run(tmp_path, EPOCH + 2, sampler=sampler)
    _, after = run(tmp_path, resume=True, sampler=sampler)
    assert sorted(after.boxes[1]) == list(range(8 * EPOCH))
    assert 'goes on at the beginning of epoch 2' in log_of(tmp_path)


class Updates(LocalizationHook):
    """Epochs in which boxes were updated."""

    def __init__(self, **kwargs) -> None:
        super().__init__(**kwargs)
        self.epochs: list[int] = []

    def _update_if_due(self, runner, step: int) -> None:
        self.epochs.append(step)


def test_an_epoch_that_goes_on_does_not_update_its_boxes_again(tmp_path):
    images = ToyImages(pipeline=CONTRASTIVE, number=8 * EPOCH)
    before, after = Updates(start=1, interval=1), Updates(start=1, interval=1)
    run(tmp_path, EPOCH + 2, more=[before], dataset=images)
    run(tmp_path, more=[after], dataset=images, resume=True)
    assert before.epochs == [0, 1] and after.epochs == [2]


def test_a_signal_long_after_the_first_one_ends_a_process_that_no_longer_steps(tmp_path, monkeypatch):
    """Training broke off with an error that somebody caught, say."""
    hook, ended = PreemptionHook(), []
    signal.signal(signal.SIGTERM, lambda *_: ended.append(True))
    try:
        with pytest.raises(RuntimeError, match='broken'):
            run(tmp_path, hook=hook, more=[Break()])
        os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGTERM)  # as Slurm's and torchrun's beside each other
        assert not ended
        monkeypatch.setattr(preemption, 'PATIENCE', -1)
        os.kill(os.getpid(), signal.SIGTERM)
        assert ended
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


class Break(Hook):
    def before_train_iter(self, runner, batch_idx, data_batch=None) -> None:
        raise RuntimeError('broken')


def test_mmengines_own_loop_begins_the_epoch_again(tmp_path):
    run(tmp_path, EPOCH + 2, loop='EpochBasedTrainLoop')
    runner, after = run(tmp_path, resume=True, loop='EpochBasedTrainLoop')
    assert len(after.losses) == 2 * EPOCH and runner.iter == 3 * EPOCH
    assert 'goes on at the beginning of epoch 2' in log_of(tmp_path)


def test_the_processs_own_handlers_come_back(tmp_path):
    before = signal.getsignal(signal.SIGTERM)
    run(tmp_path / 'whole')
    assert signal.getsignal(signal.SIGTERM) is before
    run(tmp_path / 'broken', 1)
    assert signal.getsignal(signal.SIGTERM) is before


@pytest.mark.parametrize('signals', [('SIGNONE',), ('SIGKILL',), ()])
def test_what_is_no_signal_is_an_error(signals):
    with pytest.raises(ValueError, match='PreemptionHook: signals must be names such as'):
        PreemptionHook(signals)


def test_one_processs_signal_stops_all_at_the_same_step_and_they_go_on_alike(tmp_path):
    folders = [tmp_path / name for name in ('whole', 'broken')]
    for folder in folders:
        folder.mkdir()
    whole = in_processes(on_two_ranks, folders[0], str(folders[0]), None, False)
    before = in_processes(on_two_ranks, folders[1], str(folders[1]), 3, False)
    (folders[1] / 'meet').unlink(missing_ok=True)
    after = in_processes(on_two_ranks, folders[1], str(folders[1]), None, True)
    for (unbroken, expected), (first, _), (second, found) in zip(whole, before, after, strict=True):
        assert len(first) == 6 and first + second == unbroken
        assert all(torch.equal(value, found[name]) for name, value in expected.items() if 'running' not in name)


class KillWorkers(Hook):
    """SIGTERM from somebody else to the loader's workers, who then are told to end by the process they belong to."""

    alive: list[bool] | None = None

    def before_train_iter(self, runner, batch_idx, data_batch=None) -> None:
        workers = multiprocessing.active_children()
        if runner.iter == 1:
            assert len(workers) == 2
            subprocess.run(['kill', *(str(worker.pid) for worker in workers)], check=True)
        if runner.iter == EPOCH:
            self.alive = [worker.is_alive() for worker in workers]
            for worker in workers:
                worker.terminate()
                worker.join(timeout=20)
            self.alive += [worker.is_alive() for worker in workers]
            raise KeyboardInterrupt


def test_loader_workers_overlook_the_signal_unless_their_own_process_ends_them(tmp_path):
    hook = KillWorkers()
    images = ToyImages(pipeline=PIPELINE, number=80)
    runner = toy_runner(tmp_path, [PreemptionHook(), hook], num_workers=2, dataset=images, batch_size=8)
    with pytest.raises(KeyboardInterrupt):
        runner.train()
    assert hook.alive == [True, True, False, False]
