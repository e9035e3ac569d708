"""A checkpoint, and an orderly end, when a cluster takes the machine away, and one from time to time before."""

from __future__ import annotations

import functools
import math
import os
import signal
import threading
import time
from collections.abc import Callable, Sequence

import torch
from mmengine.dist import all_reduce, get_world_size, is_main_process
from mmengine.optim import OptimWrapper, OptimWrapperDict
from mmengine.runner import IterBasedTrainLoop, Runner

from viewplug.argument_kinds import check_least
from viewplug.hooks.within_epoch import PREEMPTED, TIMED, WithinEpochHook, can_go_on, remove_unless_last
from viewplug.registry import HOOKS

EXIT_STATUS = 128 + signal.SIGTERM
PATIENCE = 60
"""Seconds between two signals after which the second one ends the process as ever."""
GRACE = 30
"""Seconds that Slurm leaves between SIGTERM and SIGKILL (KillWait), unless told otherwise; others leave alike."""
EPOCH_END = 300
"""Seconds of training behind which the end of an epoch is saved before it is known how long what follows takes: this is
many times what a checkpoint takes."""


class Preempted(SystemExit):
    """Raised when all is saved; an ordinary script ends with status 143, as one that SIGTERM ended, without a
    traceback."""


@HOOKS.register_module()
class PreemptionHook(WithinEpochHook):
    """On SIGTERM (Slurm's time limit and preemption, ``kill``) finish the step, save everything, and end the run. Half
    an hour after the last checkpoint save one in any case, for an end that nothing announces.

    ``preempted.pth`` or ``timed.pth`` in the work dir becomes the checkpoint that ``--resume`` takes; each replaces the
    one before of its name, and ``timed.pth`` is gone once a later one is there at the end. With
    ``train_cfg.type='viewplug.EpochLoop'`` the run goes on in the middle of the epoch with the batches that are left;
    with mmengine's own loop, other data or another sampler than mmengine's and ours from the epoch's beginning. On a
    CPU it then equals the unbroken run to the bit where no loader workers hold random states of their own
    (``num_workers=0``, or views made in batch), but for running statistics on several processes, which are averaged in
    the checkpoint, and for maps of views that ``LocalizationHook(source='views')`` has gathered.

    One process that gets the signal is enough: all ask each other every ``interval`` steps. Where gradients accumulate
    it is behind an optimiser's step. Workers of the training and validation loaders overlook the signal, which a whole
    job gets at once. A signal during validation, k-NN or an update of boxes waits for the next step (workers of
    ``viewplug.KNNHook``'s own loaders end with it, and the run with them), and one before the first step ends the
    process as ever. Whoever sends SIGKILL sooner than a few steps and a checkpoint take leaves the checkpoint before.
    ``timed.pth`` is saved behind an epoch's last step too, where the last checkpoint is five minutes old, so that what
    follows (until a checkpoint, or the next step) may take long without more to lose. Once that has taken longer than
    clusters wait, 30 seconds, a checkpoint of this age is old enough in each further epoch.

    Args:
        signals: their names; add ``'SIGUSR1'`` where the job asks to be told ahead of time (``--signal=USR1@120``).
        interval: steps between the processes' questions to each other, or a few more where gradients accumulate; one
            process looks at every step.
        minutes: since the last checkpoint to resume from until one is saved in between, so what SIGKILL or a crash can
            undo; None for none. Validation, k-NN and box updates save nothing while they last. Only where a resumed
            run can go on from there: epochs of ``viewplug.EpochLoop``, mmengine's loop of iterations, its Runner
            itself. The run is the same with and without; a full disk is a warning.

    Raises:
        ValueError: a name that is no signal, an interval below 1, minutes that are not above 0.
    """

    priority = 'LOWEST'  # the step is over then, schedules and log included

    def __init__(self, signals: Sequence[str] = ('SIGTERM',), interval: int = 10, minutes: float | None = 30) -> None:
        unknown = [name for name in signals if not hasattr(signal.Signals, name) or name in ('SIGKILL', 'SIGSTOP')]
        if unknown or not signals:
            raise ValueError(f'PreemptionHook: signals must be names such as "SIGTERM", got {signals!r}')
        check_least('PreemptionHook', 1, interval=interval)
        if minutes is not None and not minutes > 0:
            raise ValueError(f'PreemptionHook: minutes must be above 0, or None for no timed checkpoint, got {minutes}')
        self.signals, self.interval = [signal.Signals[name] for name in signals], interval
        self.received: str | None = None
        self.minutes = minutes
        self._since = self._saved = 0.0
        self._timed = False
        self._batches: int | None = None
        self._ended: float | None = None
        self._pause = 0.0
        self._before: dict[signal.Signals, object] = {}

    def before_train(self, runner) -> None:
        self.received, self._saved = None, time.monotonic()
        loop = runner.train_loop
        self._timed = isinstance(runner, Runner) and (isinstance(loop, IterBasedTrainLoop) or can_go_on(loop))
        self._batches, self._ended, self._pause = len(loop.dataloader) if can_go_on(loop) else None, None, 0.0
        if threading.current_thread() is not threading.main_thread():
            runner.logger.warning('PreemptionHook: signals reach the main thread only, and this run has another one')
            return
        self._before = {number: signal.signal(number, self._receive) for number in self.signals}
        for loop in (runner.train_loop, runner.val_loop):
            loader = getattr(loop, 'dataloader', None)
            if loader is not None:
                loader.worker_init_fn = functools.partial(_begin_worker, tuple(self.signals), loader.worker_init_fn)

    def before_train_iter(self, runner, batch_idx: int, data_batch=None) -> None:
        self._end_pause()

    def after_train_iter(self, runner, batch_idx: int, data_batch=None, outputs=None) -> None:
        ends_epoch = batch_idx + 1 == self._batches
        self._ask(runner, batch_idx, ends_epoch)
        if ends_epoch:
            self._ended = time.monotonic()

    def _ask(self, runner, batch_idx: int, ends_epoch: bool) -> None:
        several = get_world_size() > 1
        updates = _accumulated(runner.optim_wrapper)
        between = updates * math.ceil(self.interval / updates) if several and not ends_epoch else updates
        if (runner.iter + 1) % between:
            return
        asked = torch.tensor(2 if self.received else int(self._is_due(ends_epoch)))
        if several:
            all_reduce(asked, op='max')
        if asked == 1:
            self._save_timed(runner, batch_idx + 1)
        elif asked == 2:
            self.save(runner, PREEMPTED, batch_idx + 1)
            self._give_back()
            remove_unless_last(runner.work_dir, TIMED)
            path = os.path.join(runner.work_dir, PREEMPTED)
            runner.logger.warning(
                f'{self.received or "A signal to another process"}: stopped after iteration {runner.iter + 1} of '
                f'{runner.max_iters}; all is saved in {path}, and the same command with --resume goes on from it.'
            )
            raise Preempted(EXIT_STATUS)

    def after_train(self, runner) -> None:
        self._give_back()
        for name in (TIMED, f'{TIMED}.part', f'{PREEMPTED}.part'):  # parts are of a kill while they were written
            remove_unless_last(runner.work_dir, name)

    def before_save_checkpoint(self, runner, checkpoint: dict) -> None:
        super().before_save_checkpoint(runner, checkpoint)
        if 'optimizer' in checkpoint:  # the best one so far is nothing to go on from
            self._saved = time.monotonic()
            self._end_pause()  # what is saved cannot be lost any more

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

    def _save_timed(self, runner, batches_done: int) -> None:
        failed = self.save(runner, TIMED, batches_done, required=False)
        if failed:  # the run itself is well
            self._saved = time.monotonic()
            runner.logger.warning(f'{TIMED} could not be saved after iteration {runner.iter + 1}: {failed}')
        else:
            runner.logger.info(f'Saved {TIMED} after iteration {runner.iter + 1}: --resume goes on from there')

    def _end_pause(self) -> None:
        if self._ended is not None:
            self._pause, self._ended = max(self._pause, time.monotonic() - self._ended), None

    def _is_due(self, ends_epoch: bool) -> bool:
        if self.minutes is None or not self._timed or not is_main_process():
            return False
        seconds = 60 * self.minutes
        if ends_epoch:
            seconds = min(seconds, GRACE if self._pause > GRACE else EPOCH_END)
        return time.monotonic() - self._saved >= seconds


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
