"""A checkpoint, and an orderly end, when a cluster takes the machine away."""

from __future__ import annotations

import functools
import math
import os
import signal
import threading
import time
from collections.abc import Callable, Sequence

import torch
from mmengine.dist import all_gather_object, all_reduce, barrier, get_world_size, is_main_process
from mmengine.hooks import Hook
from mmengine.optim import OptimWrapper, OptimWrapperDict
from torch.utils.data import DataLoader

from viewplug.argument_kinds import check_least
from viewplug.epoch_loop import EpochLoop, can_skip
from viewplug.random_states import random_state
from viewplug.registry import HOOKS
from viewplug.running_stats import average_running_stats

CHECKPOINT = 'preempted.pth'
KEY = 'within_epoch'
EXIT_STATUS = 128 + signal.SIGTERM
PATIENCE = 60
"""Seconds between two signals after which the second one ends the process as ever."""


class Preempted(SystemExit):
    """Raised when all is saved; an ordinary script ends with status 143, as one that SIGTERM ended, without a
    traceback."""


@HOOKS.register_module()
class PreemptionHook(Hook):
    """On SIGTERM (Slurm's time limit and preemption, ``kill``) finish the step, save everything, and end the run.

    ``preempted.pth`` in the work dir becomes the checkpoint that ``--resume`` takes; each one replaces the one before.
    With ``train_cfg.type='viewplug.EpochLoop'`` the run goes on in the middle of the epoch with the batches that are
    left; with mmengine's own loop, other data or another sampler than mmengine's and ours from the epoch's beginning.
    On a CPU it then equals the unbroken run to the bit where no loader workers hold random states of their own
    (``num_workers=0``, or views made in batch), but for running statistics on several processes, which are averaged at
    that point, and for maps of views that ``LocalizationHook(source='views')`` has gathered.

    One process that gets the signal is enough: all ask each other every ``interval`` steps. Where gradients accumulate
    it is behind an optimiser's step. Workers of the training and validation loaders overlook the signal, which a whole
    job gets at once. A signal during validation, k-NN or an update of boxes waits for the next step (workers of
    ``viewplug.KNNHook``'s own loaders end with it, and the run with them), and one before the first step ends the
    process as ever. Whoever sends SIGKILL sooner than a few steps and a checkpoint take leaves the checkpoint before.

    Args:
        signals: their names; add ``'SIGUSR1'`` where the job asks to be told ahead of time (``--signal=USR1@120``).
        interval: steps between the processes' questions to each other, or a few more where gradients accumulate; one
            process looks at every step.

    Raises:
        ValueError: a name that is no signal, or an interval below 1.
    """

    priority = 'LOWEST'  # the step is over then, schedules and log included

    def __init__(self, signals: Sequence[str] = ('SIGTERM',), interval: int = 10) -> None:
        unknown = [name for name in signals if not hasattr(signal.Signals, name) or name in ('SIGKILL', 'SIGSTOP')]
        if unknown or not signals:
            raise ValueError(f'PreemptionHook: signals must be names such as "SIGTERM", got {signals!r}')
        check_least('PreemptionHook', 1, interval=interval)
        self.signals, self.interval = [signal.Signals[name] for name in signals], interval
        self.received: str | None = None
        self._since = 0.0
        self._before: dict[signal.Signals, object] = {}
        self._place: dict | None = None

    def before_train(self, runner) -> None:
        self.received = None
        if threading.current_thread() is not threading.main_thread():
            runner.logger.warning('PreemptionHook: signals reach the main thread only, and this run has another one')
            return
        self._before = {number: signal.signal(number, self._receive) for number in self.signals}
        for loop in (runner.train_loop, runner.val_loop):
            loader = getattr(loop, 'dataloader', None)
            if loader is not None:
                loader.worker_init_fn = functools.partial(_begin_worker, tuple(self.signals), loader.worker_init_fn)

    def after_train_iter(self, runner, batch_idx: int, data_batch=None, outputs=None) -> None:
        several = get_world_size() > 1
        updates = _accumulated(runner.optim_wrapper)
        if (runner.iter + 1) % (updates * math.ceil(self.interval / updates) if several else updates):
            return
        asked = torch.tensor(int(self.received is not None))
        if several:
            all_reduce(asked, op='max')
        if asked:
            self._save(runner, batch_idx + 1)
            self._give_back()
            path = os.path.join(runner.work_dir, CHECKPOINT)
            runner.logger.warning(
                f'{self.received or "A signal to another process"}: stopped after iteration {runner.iter + 1} of '
                f'{runner.max_iters}; all is saved in {path}, and the same command with --resume goes on from it.'
            )
            raise Preempted(EXIT_STATUS)

    def after_train(self, runner) -> None:
        self._give_back()

    def before_save_checkpoint(self, runner, checkpoint: dict) -> None:
        if self._place is not None:
            checkpoint[KEY] = self._place

    def after_load_checkpoint(self, runner, checkpoint: dict) -> None:
        """Tell the loop where in its epoch to begin; ResumeCheckHook says what happens where it cannot."""
        place, loop = checkpoint.get(KEY), runner._train_loop
        if not runner._resume or place is None or not isinstance(loop, EpochLoop) or not can_skip(loop.dataloader):
            return
        states = place['random_states']
        if place['data'] == _data(loop.dataloader) and len(states) == get_world_size():
            loop.batches_done, loop.random_state = place['batches_done'], states[runner.rank]
            loop.dataloader.sampler.seed = place['sampler_seed']  # drawn anew where the config has none

    def _receive(self, number: int, frame) -> None:
        if self.received and time.monotonic() - self._since > PATIENCE:  # no step since: this process hangs, or trains
            self._give_back()  # no longer, behind an error that somebody has caught
            os.kill(os.getpid(), number)
        if not self.received:
            self.received, self._since = signal.Signals(number).name, time.monotonic()

    def _give_back(self) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before = {}

    def _save(self, runner, batches_done: int) -> None:
        average_running_stats(runner.model)
        states = all_gather_object(random_state())
        loader = runner.train_dataloader
        self._place = dict(
            batches_done=batches_done,
            data=_data(loader),
            sampler_seed=getattr(loader.sampler, 'seed', None),
            random_states=states,
        )
        part = f'{CHECKPOINT}.part'
        runner.save_checkpoint(runner.work_dir, part, by_epoch=False)
        if is_main_process():
            path = os.path.join(runner.work_dir, CHECKPOINT)
            os.replace(os.path.join(runner.work_dir, part), path)
            with open(os.path.join(runner.work_dir, 'last_checkpoint'), 'w') as note:
                note.write(path)
        self._place = None
        barrier()  # whoever leaves first makes its launcher end the others


def _data(loader: DataLoader) -> dict[str, int | None]:
    """What must be the same for an epoch's batches to be the same."""
    return dict(batches=len(loader), batch_size=loader.batch_size, images=len(loader.dataset))


def _accumulated(wrapper: OptimWrapper | OptimWrapperDict) -> int:
    """Iterations between two steps of all optimisers."""
    wrappers = wrapper.optim_wrappers.values() if isinstance(wrapper, OptimWrapperDict) else [wrapper]
    return math.lcm(*(getattr(one, '_accumulative_counts', 1) for one in wrappers))


def _begin_worker(signals: tuple[signal.Signals, ...], then: Callable | None, worker_id: int) -> None:
    """A loader's ``worker_init_fn``: heed ``signals`` only where the training process sends them, to end its worker."""
    parent = os.getppid()
    signal.pthread_sigmask(signal.SIG_BLOCK, signals)

    def wait() -> None:
        while signal.sigwaitinfo(signals).si_pid != parent:
            pass
        os._exit(0)

    threading.Thread(target=wait, daemon=True).start()
    if then is not None:
        then(worker_id)
