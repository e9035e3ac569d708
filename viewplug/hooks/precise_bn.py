"""Batch-norm statistics of a finished detector, measured anew."""

from __future__ import annotations

import itertools

import torch
from mmengine.dist import all_reduce
from mmengine.hooks import Hook
from mmengine.logging import print_log
from mmengine.runner import Runner
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from viewplug.registry import HOOKS
from viewplug.unwrapping import unwrapped


@HOOKS.register_module()
class PreciseBNHook(Hook):
    """Before an evaluation, replace running statistics by averages over training batches at fixed weights.

    detectron2's ``TEST.PRECISE_BN``, which MoCo's detection configs switch on ("Rethinking Batch in BatchNorm",
    arXiv:2105.07576, sec. 3). Batches come from a second loader of the training data and go through the training
    forward, so that layers behind the proposals (res5) see the RoIs that training samples; mmpretrain's hook of this
    name runs the test's RoIs through them and interrupts persistent workers. Layers in evaluation mode (frozen)
    keep theirs.

    Give it a priority above the checkpoint hook's, so that checkpoints hold what was evaluated.

    Args:
        num_batches: on each process; 200 is detectron2's.
        interval: iterations (epochs, if the loop counts these); 0 is the loop's ``val_interval``. The end of
            training always counts.
    """

    def __init__(self, num_batches: int = 200, interval: int = 0) -> None:
        for key, value, least in (('num_batches', num_batches, 1), ('interval', interval, 0)):
            if not isinstance(value, int) or value < least:
                raise ValueError(f'PreciseBNHook: {key} must be a whole number from {least}, got {value!r}')
        self.num_batches, self.interval = num_batches, interval

    def after_train_iter(self, runner: Runner, batch_idx: int, data_batch=None, outputs=None) -> None:
        if 'Iter' in type(runner.train_loop).__name__:
            self._after(runner, runner.iter + 1, runner.max_iters)

    def after_train_epoch(self, runner: Runner) -> None:
        if 'Iter' not in type(runner.train_loop).__name__:
            self._after(runner, runner.epoch + 1, runner.max_epochs)

    def _after(self, runner: Runner, done: int, end: int) -> None:
        if done % (self.interval or runner.train_loop.val_interval) and done != end:
            return
        # A new one each time: mmengine's InfiniteSampler gives nothing more once an iteration over it was broken off.
        loader = Runner.build_dataloader(dict(runner.cfg.train_dataloader, persistent_workers=False))
        model = unwrapped(runner.model)
        count = update_statistics(model, itertools.islice(_endless(loader), self.num_batches))
        print_log(f'PreciseBNHook: {count} layers, {self.num_batches} batches', 'current')


@torch.no_grad()
def update_statistics(model: nn.Module, batches) -> int:
    """Set ``running_mean`` and ``running_var`` of layers in training mode to the mean of the batches' own.

    Args:
        model: an mmengine model in training mode.
        batches: of its data loader.

    Returns:
        The number of layers.
    """
    layers = [m for m in model.modules() if isinstance(m, _BatchNorm) and m.training and m.track_running_stats]
    if not layers:
        return 0
    kept = [layer.momentum for layer in layers]
    sums = [[torch.zeros_like(layer.running_mean), torch.zeros_like(layer.running_var)] for layer in layers]
    seen = 0
    try:
        for layer in layers:
            layer.momentum = 1.0  # a running statistic is the last batch's
        for batch in batches:
            batch = model.data_preprocessor(batch, True)
            model(**batch, mode='loss')
            seen += 1
            for layer, (mean, var) in zip(layers, sums, strict=True):
                mean += layer.running_mean
                var += layer.running_var
    finally:
        for layer, momentum in zip(layers, kept, strict=True):
            layer.momentum = momentum
    for layer, (mean, var) in zip(layers, sums, strict=True):
        for running, total in ((layer.running_mean, mean), (layer.running_var, var)):
            total /= seen
            all_reduce(total, 'mean')
            running.copy_(total)
    return len(layers)


def _endless(loader):
    batch = None
    while True:
        for batch in loader:
            yield batch
        if batch is None:
            raise ValueError('PreciseBNHook: the loader of train_dataloader gives no batch')
