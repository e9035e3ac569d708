"""Proof that what should not learn did not."""

from __future__ import annotations

import torch
from mmengine.hooks import Hook
from torch import Tensor

from viewplug.registry import HOOKS
from viewplug.transfer.checkpoint import read_checkpoint, weights_of
from viewplug.unwrapping import unwrapped


@HOOKS.register_module()
class FrozenBackboneHook(Hook):
    """Stop a run whose frozen part has changed: parameters and buffers, so batch norm's statistics and counters too.

    It compares bit by bit before training, after every epoch and at the end. It freezes nothing itself; that is done
    by ``viewplug.LinearClassifier``, or by a backbone's ``frozen_stages``.

    Args:
        module: the frozen part, as an attribute of the model: 'backbone', or e.g. 'backbone.layer1'.
        checkpoint: the file whose weights it must have all along; None takes the weights at the start of training.
        prefix: of these weights in the file.

    Raises:
        ValueError: before training, when the model has no such module or its weights are not the checkpoint's, as after
            a load that found nothing, or another network.
        RuntimeError: after an epoch, when a weight or statistic has changed.
    """

    def __init__(self, module: str = 'backbone', checkpoint: str | None = None, prefix: str = 'backbone.') -> None:
        self.module = module
        self.checkpoint = checkpoint
        self.prefix = prefix
        self._expected: dict[str, Tensor] = {}

    def before_train(self, runner) -> None:
        state = self._state(runner)
        if self.checkpoint is None:
            self._expected = {name: value.detach().clone() for name, value in state.items()}
            return
        self._expected = backbone_weights(self.checkpoint, self.prefix)
        missing = [name for name in state if name not in self._expected]
        changed = [] if missing else self._changed(state)
        if missing or changed:
            found = missing or changed
            raise ValueError(
                f'FrozenBackboneHook: {len(found)} of {len(state)} tensors of {self.module} '
                f'{"are not in" if missing else "differ from"} checkpoint={self.checkpoint} under prefix='
                f'{self.prefix!r} (such as {found[0]}): the network is not the one that was trained, or was not loaded'
            )

    def after_train_epoch(self, runner) -> None:
        changed = self._changed(self._state(runner))
        if changed:
            raise RuntimeError(
                f'FrozenBackboneHook: {len(changed)} tensors of {self.module} changed in epoch {runner.epoch + 1} '
                f'(such as {changed[0]}), so it is not frozen: make the model a viewplug.LinearClassifier, or set '
                "the backbone's frozen_stages"
            )

    def after_train_iter(self, runner, batch_idx: int, data_batch=None, outputs=None) -> None:
        if batch_idx == 0 and runner.train_loop.epoch == 0:  # tell a mistake at once, not after an epoch of ImageNet
            self.after_train_epoch(runner)

    def _state(self, runner) -> dict[str, Tensor]:
        model = unwrapped(runner.model)
        try:
            return model.get_submodule(self.module).state_dict()
        except AttributeError as error:
            raise ValueError(f'FrozenBackboneHook: module={self.module!r} is not in {type(model).__name__}') from error

    def _changed(self, state: dict[str, Tensor]) -> list[str]:
        return [name for name, value in state.items() if not torch.equal(value.cpu(), self._expected[name].cpu())]


def backbone_weights(checkpoint: str, prefix: str = 'backbone.') -> dict[str, Tensor]:
    """The tensors of ``checkpoint`` whose names begin with ``prefix``, without it.

    Raises:
        ValueError: there are none, or the file is not a checkpoint.
    """
    state = weights_of(read_checkpoint(checkpoint))
    found = {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}
    if not found:
        groups = sorted({name.split('.')[0] + '.' for name in state})
        raise ValueError(
            f'{checkpoint} has nothing under prefix={prefix!r}; it has {", ".join(groups) or "no weights"}'
        )
    return found
