"""One network in all processes, batch norm's running statistics included."""

from __future__ import annotations

from mmengine.hooks import Hook
from mmengine.runner import IterBasedTrainLoop

from viewplug.registry import HOOKS
from viewplug.running_stats import average_running_stats


@HOOKS.register_module()
class SyncRunningStatsHook(Hook):
    """Averages running statistics, online and target, over processes before anything reads them.

    That is at the end of each epoch, ahead of KNNHook, validation and CheckpointHook, and so of LocalizationHook, which
    acts when the next begins. Where the loop or a hook counts iterations (``by_epoch=False``), it is after each of
    them. The checkpoint, which rank 0 writes, then is every process's network, and a run resumed from it goes on as
    the unbroken one. One small collective, see :func:`viewplug.running_stats.average_running_stats`; one process has
    none. Unlike mmengine's SyncBuffersHook it leaves queues and centres, large and equal already, where they are.
    """

    priority = 'VERY_HIGH'

    def __init__(self) -> None:
        self._every_step = False

    def before_train(self, runner) -> None:
        counts_iterations = any(getattr(hook, 'by_epoch', True) is False for hook in runner.hooks)
        self._every_step = counts_iterations or isinstance(runner.train_loop, IterBasedTrainLoop)

    def after_train_iter(self, runner, batch_idx: int, data_batch=None, outputs=None) -> None:
        if self._every_step:
            average_running_stats(runner.model)

    def after_train_epoch(self, runner) -> None:
        average_running_stats(runner.model)
