"""Parameters that no part of the loss depends on."""

from __future__ import annotations

from functools import partial

from torch import nn


class GradientWitness:
    """Notes which of a model's parameters a backward reaches.

    Args:
        model: those of its parameters that want gradients count.
    """

    def __init__(self, model: nn.Module) -> None:
        wanted = {name: one for name, one in model.named_parameters() if one.requires_grad}
        self._missed = dict.fromkeys(wanted)
        self._handles = [
            one.register_post_accumulate_grad_hook(partial(self._reached, name)) for name, one in wanted.items()
        ]

    def close(self) -> list[str]:
        """The names of those that none has reached."""
        for handle in self._handles:
            handle.remove()
        return list(self._missed)

    def _reached(self, name: str, parameter: nn.Parameter) -> None:
        self._missed.pop(name, None)
