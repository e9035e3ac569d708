"""A checkpoint within an epoch, and the place in it where a run goes on from there."""

from __future__ import annotations

import os
from pathlib import Path

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

    def save(self, runner, name: str, batches_done: int, required: bool = True) -> OSError | None:
        """Save everything as ``name`` in the work dir and make it the checkpoint that ``--resume`` takes; call it on
        all processes, behind a step. Nothing of the run changes.

        Args:
            batches_done: of this epoch.
            required: raise what the disk says; else it is returned, on the main process, and nothing is left there.
        """
        if can_go_on(runner.train_loop):
            loader = runner.train_dataloader
            self._place = dict(
                batches_done=batches_done,
                data=_data(loader),
                sampler_seed=loader.sampler.seed,
                random_states=all_gather_object(random_state()),
            )
        failed = None
        try:
            with averaged_running_stats(runner.model):
                runner.save_checkpoint(runner.work_dir, f'{name}.part', by_epoch=False)
            if is_main_process():
                _put_in_place(runner.work_dir, name)
        except OSError as error:
            if required:
                raise
            failed = error
            remove_unless_last(runner.work_dir, f'{name}.part')
        self._place = None
        barrier()  # whoever leaves first makes its launcher end the others
        return failed

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


def _put_in_place(work_dir: str, name: str) -> None:
    path = os.path.join(work_dir, name)
    os.replace(f'{path}.part', path)
    with open(os.path.join(work_dir, 'last_checkpoint'), 'w') as note:
        note.write(path)


def remove_unless_last(work_dir: str, name: str) -> None:
    """Remove a checkpoint that a later one has taken the place of."""
    path, note = Path(work_dir, name), Path(work_dir, 'last_checkpoint')
    if is_main_process() and path.exists() and (not note.exists() or Path(note.read_text()).name != name):
        path.unlink()


def _data(loader: DataLoader) -> dict[str, int | None]:
    """What must be the same for an epoch's batches to be the same."""
    return dict(batches=len(loader), batch_size=loader.batch_size, images=len(loader.dataset))
