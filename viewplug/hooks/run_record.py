"""What a report of a run needs and the log does not say."""

from __future__ import annotations

import contextlib
import json
import os
import resource
import sys
import time
from pathlib import Path

from mmengine.dist import get_rank, is_main_process
from mmengine.hooks import Hook

from viewplug.registry import HOOKS
from viewplug.unwrapping import unwrapped


@HOOKS.register_module()
class RunRecordHook(Hook):
    """Whether a run came to its end, how large its steps are, the target's momentum, the memory of the process.

    ``work_dir/run.json`` says ``status`` 'running', and 'finished' once training has ended, with its ``seconds``.
    ``tools/train.py`` makes it 'failed' (with the ``error`` and the number of the ``process``), 'interrupted',
    'preempted' or 'stopped' (by a hook) where that ended the run; one that was killed goes on saying 'running'. A start
    that ends before training begins leaves the record of the one before it; ``session``, the name of the folder with
    its logs, says whose record it is.
    ``run/target_momentum`` (of a model whose target has one) and ``run/peak_memory`` (MB of this process so far,
    without loader workers; a GPU's is in mmengine's log) go to ``runner.visualizer`` over iterations.

    Args:
        interval: Iterations between two records; the last iteration of an epoch is recorded too.
    """

    priority = 'LOW'

    def __init__(self, interval: int = 50) -> None:
        if not isinstance(interval, int) or interval < 1:
            raise ValueError(f'RunRecordHook: interval must be a positive integer, got {interval!r}.')
        self.interval = interval
        self._record: dict = {}
        self._folder: Path | None = None

    def before_train(self, runner) -> None:
        loader = runner.train_dataloader
        self._record = dict(
            status='running',
            session=runner.timestamp,
            started=time.time(),
            begins_at_iteration=runner.iter,
            iterations=runner.max_iters,
            epochs=runner.max_epochs,
            images_per_step=(getattr(loader, 'batch_size', None) or loader.batch_sampler.batch_size)
            * runner.world_size,
            processes=runner.world_size,
        )
        self._folder = Path(runner.work_dir)
        if is_main_process():
            self._write()

    def after_train_iter(self, runner, batch_idx: int, data_batch=None, outputs=None) -> None:
        if not (
            self.every_n_train_iters(runner, self.interval) or self.end_of_epoch(runner.train_dataloader, batch_idx)
        ):
            return
        scalars = {'run/peak_memory': _peak_memory()}
        model = unwrapped(runner.model)
        momentum_at = getattr(getattr(model, 'target', None), 'momentum_at', None)
        if momentum_at is not None:
            scalars['run/target_momentum'] = momentum_at(runner.iter)
        runner.visualizer.add_scalars(scalars, step=runner.iter + 1)

    def after_train(self, runner) -> None:
        self.end('finished')

    def end(self, status: str, error: str | None = None) -> None:
        """Record how the run ended. Each process can tell of an ``error``; the first stays, of which others fail."""
        if self._folder is None or (error is not None and self._has_error()):
            return
        self._record |= dict(status=status, seconds=time.time() - self._record['started'])
        if error is not None:
            self._record |= dict(error=error, process=get_rank())
        if is_main_process() or error is not None:
            self._write()

    def _has_error(self) -> bool:
        with contextlib.suppress(OSError, ValueError):
            return 'error' in json.loads((self._folder / 'run.json').read_text())
        return False

    def _write(self) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        part = self._folder / f'run.json.{get_rank()}.part'
        part.write_text(json.dumps(self._record, indent=1))
        os.replace(part, self._folder / 'run.json')


def _peak_memory() -> float:
    """MB; the system counts in KB, macOS in bytes."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**20 if sys.platform == 'darwin' else 2**10)
