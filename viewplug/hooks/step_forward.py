"""A network's forward in a faster form, inside training steps only."""

from __future__ import annotations

import logging

import torch
from mmengine.logging import print_log
from torch import Tensor, nn


class StepForward:
    """A network's forward, done otherwise between :meth:`begin` and :meth:`end`.

    It takes the place of ``network.forward`` alone: parameters, keys and hooks on the network itself stay as they are.
    (Weights in channels-last order would hide from DDP, whose buckets keep the order in which it met them, so that
    gradients come back with their elements mixed up. An image in that order has the same effect on a convolution.)

    Attributes:
        channels_last: put images (N, C, H, W) into channels-last order first.
    """

    def __init__(self, network: nn.Module) -> None:
        self.network, self.channels_last = network, False
        self._own = network.__dict__.get('forward')  # activation checkpointing puts one there too
        self._plain = network.forward
        self._compiled = None
        self._proven = self._said = False

    def compile(self, **options) -> None:
        """Compile it, with these arguments of ``torch.compile``. It runs plain for good once that has failed, and for
        as long as a hook on a module inside is new, which compiled code would not call."""
        self._compiled = torch.compile(self._plain, **options)
        self._hooks = self._hooks_inside()

    def begin(self) -> None:
        self.network.forward = self

    def end(self) -> None:
        del self.network.forward
        if self._own is not None:
            self.network.forward = self._own

    def __call__(self, *args, **kwargs):
        if self.channels_last:
            args = [_channels_last(value) for value in args]
        if self._compiled is None:
            return self._plain(*args, **kwargs)
        if self._hooks_inside() != self._hooks:
            self._say('a hook listens to a module inside, forwards run uncompiled while it does', logging.INFO)
            return self._plain(*args, **kwargs)
        before = [] if self._proven else [buffer.clone() for buffer in self.network.buffers()]
        try:
            found = self._compiled(*args, **kwargs)
            self._proven = True
            return found
        except Exception as error:
            self._compiled, reason = None, ' '.join(str(error).strip().split('\n\n')[0].split())
        # A part may have run before another failed to compile; batch norm must not count it twice.
        for buffer, value in zip(self.network.buffers(), before, strict=False):
            buffer.data.copy_(value)
        found = self._plain(*args, **kwargs)  # an error of the network's own comes again here
        self._say(f'torch.compile failed, the run goes on uncompiled: {reason}', logging.WARNING)
        return found

    def _hooks_inside(self) -> int:
        inside = [module for module in self.network.modules() if module is not self.network]
        return sum(len(module._forward_hooks) + len(module._forward_pre_hooks) for module in inside)

    def _say(self, sentence: str, level: int) -> None:
        if not self._said:
            print_log(f'StepSpeedHook: compile_backbone, {type(self.network).__name__}: {sentence}', 'current', level)
        self._said = True


def _channels_last(value):
    is_images = isinstance(value, Tensor) and value.dim() == 4
    return value.contiguous(memory_format=torch.channels_last) if is_images else value
