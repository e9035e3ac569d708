"""The end of a run whose weights are lost, before its checkpoints are."""

from __future__ import annotations

import time
from pathlib import Path

import torch
from mmengine.hooks import Hook
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from viewplug.argument_kinds import check_least
from viewplug.config.training_data import UserError
from viewplug.registry import HOOKS
from viewplug.unwrapping import unwrapped


class DivergedError(UserError, RuntimeError):
    """Weights are nan or infinite."""


@HOOKS.register_module()
class FiniteWeightsHook(Hook):
    """Stop a run whose weights have become nan or infinite: no later step mends them.

    Without it the run goes on to its end, each checkpoint takes the place of an older one (``max_keep_ckpts``), and at
    last all that are left hold nan. All parameters and buffers are looked at (running statistics, queue and target
    among them), but for buffers that hold infinities from the start, as masks of attention do. A loss of nan alone is
    let pass: float16 has steps that overflow, which torch's GradScaler leaves out.

    Args:
        interval: iterations between two looks; the end of an epoch and the moment before a checkpoint is written are
            looked at too.

    Raises:
        ValueError: an interval below 1.
        DivergedError: it names the first such tensor, the last loss and the checkpoint before.
    """

    priority = 'HIGH'  # before what reads or saves the weights at an epoch's end

    def __init__(self, interval: int = 50) -> None:
        check_least('FiniteWeightsHook', 1, interval=interval)
        self.interval = interval
        self._masks: set[str] | None = None
        self._began = 0.0

    def before_train(self, runner) -> None:
        model = unwrapped(runner.model)
        lost, buffers = not_finite(model), dict(model.named_buffers())
        self._masks = {name for name in lost if name in buffers and not buffers[name].isnan().any()}
        lost = [name for name in lost if name not in self._masks]
        if lost:
            raise DivergedError(
                f'weights are not finite (nan or infinite) before the first step: {_several(lost)}. They came with the '
                f"checkpoint {runner._load_from!r} or the model's initialisation."
            )
        self._began = time.time()

    def after_train_iter(self, runner, batch_idx: int, data_batch=None, outputs=None) -> None:
        if self.every_n_train_iters(runner, self.interval):
            self._look(runner, runner.iter + 1)

    def after_train_epoch(self, runner) -> None:
        self._look(runner, runner.iter)

    def before_save_checkpoint(self, runner, checkpoint: dict) -> None:
        self._look(runner, checkpoint['meta']['iter'])

    def _look(self, runner, iteration: int) -> None:
        if self._masks is None:  # a checkpoint without training
            return
        lost = [name for name in not_finite(unwrapped(runner.model)) if name not in self._masks]
        if not lost:
            return
        losses = runner.message_hub.log_scalars.get('train/loss')
        last = f'the last loss was {losses.current():.4g}, ' if losses is not None else ''
        checkpoint = self._checkpoint_before(runner)
        kept = f'{checkpoint} is from before' if checkpoint else 'no checkpoint had been written before'
        raise DivergedError(
            f'training diverged: weights are not finite (nan or infinite) after iteration {iteration}, '
            f'{_several(lost)}; {last}learning rate {_learning_rate(runner)}; {kept}. Try a lower learning rate, a '
            'longer warm-up, clipped gradients (optim_wrapper.clip_grad), or bf16 or float32 where it was fp16.'
        )

    def _checkpoint_before(self, runner) -> str | None:
        """Of this run, whose work dir may have an earlier one's."""
        note = Path(runner.work_dir, 'last_checkpoint')
        if note.is_file() and note.stat().st_mtime >= self._began:
            return note.read_text() or None
        return runner._load_from if runner._resume else None


@torch.no_grad()
def not_finite(model: nn.Module) -> list[str]:
    """Names of parameters and buffers that hold nan or infinity. The device is waited for once."""
    tensors: dict[str, Tensor] = {
        name: tensor
        for name, tensor in [*model.named_parameters(), *model.named_buffers()]
        if not is_lazy(tensor) and tensor.is_floating_point() and tensor.numel() and not tensor.is_meta
    }
    if not tensors:
        return []
    device = next(iter(tensors.values())).device
    # A sum is finite where all its terms are: weights are far from float32's largest number.
    sums = torch.stack([tensor.sum(dtype=torch.float32).to(device) for tensor in tensors.values()])
    return [name for name, fine in zip(tensors, sums.isfinite().tolist(), strict=True) if not fine]


def _several(names: list[str]) -> str:
    return f'{names[0]} and {len(names) - 1} more tensors' if len(names) > 1 else names[0]


def _learning_rate(runner) -> str:
    rates = runner.optim_wrapper.get_lr()
    found = rates.get('lr') or next(iter(rates.values()))
    return f'{found[0]:.4g}'
