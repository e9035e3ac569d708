"""Losses read when the log is written, not after every step."""

from __future__ import annotations

import torch
from mmengine.hooks import LoggerHook, RuntimeInfoHook

from viewplug.registry import HOOKS

MOST = 1000
"""Steps whose numbers are kept at most, where no log is written."""


@HOOKS.register_module()
class LateRuntimeInfoHook(RuntimeInfoHook):
    """mmengine's RuntimeInfoHook, that lets a GPU go on while the host prepares the next steps.

    mmengine reads every number of a step's log as soon as the step is queued, and so waits until the GPU is idle; then
    the GPU waits for the host: for the next batch, the random numbers of its views, and the queueing of its kernels.
    This hook keeps the numbers where they are until a LoggerHook writes them, a validation begins, or a checkpoint
    takes the message hub along. Log, checkpoints and weights are the same to the digit::

        default_hooks = dict(runtime_info=dict(type='viewplug.LateRuntimeInfoHook'))

    A hook of yours that looks in ``runner.message_hub`` after every step finds the numbers of the last reading there;
    ``after_train_iter``'s ``outputs`` are the step's own. ``clip_grad`` and fp16's GradScaler wait in every step
    nevertheless.
    """

    def before_run(self, runner) -> None:
        super().before_run(runner)
        self._kept: list[dict] = []
        self._intervals = [hook.interval for hook in runner.hooks if isinstance(hook, LoggerHook)]

    def after_train_iter(self, runner, batch_idx: int, data_batch=None, outputs: dict | None = None) -> None:
        if outputs is not None:
            self._kept.append({key: _own(value) for key, value in outputs.items()})
        written = len(self._kept) >= MOST or any(
            self.every_n_inner_iters(batch_idx, interval) for interval in self._intervals
        )
        if written or self.end_of_epoch(runner.train_dataloader, batch_idx):
            self._read(runner)

    def before_val(self, runner) -> None:
        self._read(runner)
        super().before_val(runner)

    def before_save_checkpoint(self, runner, checkpoint: dict) -> None:
        if self._kept:
            self._read(runner)
            checkpoint['message_hub'] = runner.message_hub.state_dict()  # mmengine asked before the hooks

    def after_train(self, runner) -> None:
        self._read(runner)
        super().after_train(runner)

    def _read(self, runner) -> None:
        """Hand over what was kept, oldest first."""
        kept, self._kept = self._kept, []
        for outputs in kept:
            super().after_train_iter(runner, 0, outputs=outputs)


def _own(value):
    """The number as it is now: without the step's graph, and not changed by the next step."""
    return value.detach().clone() if isinstance(value, torch.Tensor) else value
