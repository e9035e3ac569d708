"""A checkpoint within an epoch, and the place in it where a run goes on from there."""

from __future__ import annotations

import os

from mmengine.dist import all_gather_object, barrier, get_world_size, is_main_process
from mmengine.hooks import Hook
from torch.utils.data import DataLoader

from viewplug.epoch_loop import EpochLoop, can_skip
from viewplug.random_states import random_state
from viewplug.running_stats import averaged_running_stats

PREEMPTED, TIMED = 'preempted.pth', 'timed.pth'
"""Behind a signal, and from time to time."""
KEY = 'within_epoch'


class WithinEpochHook(Hook):
    """What a hook that saves within an epoch has in common with others: how it saves, and how a run goes on."""

    _place: dict | None = None

    def save(self, runner, name: str, batches_done: int) -> None:
        """Save everything as ``name`` in the work dir and make it the checkpoint that ``--resume`` takes; call it on
        all processes, behind a step. Nothing of the run changes.

        Args:
            batches_done: of this epoch.
        """
        if can_go_on(runner.train_loop):
            loader = runner.train_dataloader
            self._place = dict(
                batches_done=batches_done,
                data=_data(loader),
                sampler_seed=loader.sampler.seed,
                random_states=all_gather_object(random_state()),
            )
        part = f'{name}.part'
        with averaged_running_stats(runner.model):
            runner.save_checkpoint(runner.work_dir, part, by_epoch=False)
        if is_main_process():
            path = os.path.join(runner.work_dir, name)
            os.replace(os.path.join(runner.work_dir, part), path)
            with open(os.path.join(runner.work_dir, 'last_checkpoint'), 'w') as note:
                note.write(path)
        self._place = None
        barrier()  # whoever leaves first makes its launcher end the others

    def before_save_checkpoint(self, runner, checkpoint: dict) -> None:
        if self._place is not None:
            checkpoint[KEY] = self._place

    def after_load_checkpoint(self, runner, checkpoint: dict) -> None:
        """Tell the loop where in its epoch to begin; ResumeCheckHook says what happens where it cannot."""
        place, loop = checkpoint.get(KEY), runner._train_loop
        if not runner._resume or place is None or not can_go_on(loop):
            return
        states = place['random_states']
        if place['data'] == _data(loop.dataloader) and len(states) == get_world_size():
            loop.batches_done, loop.random_state = place['batches_done'], states[runner.rank]
            loop.dataloader.sampler.seed = place['sampler_seed']  # drawn anew where the config has none


def can_go_on(loop) -> bool:
    """Whether a resumed run can take up the epoch where a checkpoint within it was saved."""
    return isinstance(loop, EpochLoop) and can_skip(loop.dataloader)


def remove_unless_last(work_dir: str, name: str) -> None:
    """Remove a checkpoint that a later one has taken the place of."""
    path, note = os.path.join(work_dir, name), os.path.join(work_dir, 'last_checkpoint')
    if not (is_main_process() and os.path.exists(path) and os.path.exists(note)):
        return
    with open(note) as file:
        if os.path.basename(file.read()) != name:
            os.remove(path)


def _data(loader: DataLoader) -> dict[str, int | None]:
    """What must be the same for an epoch's batches to be the same."""
    return dict(batches=len(loader), batch_size=loader.batch_size, images=len(loader.dataset))
