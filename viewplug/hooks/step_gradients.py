"""What DINO does to gradients between backward and the optimiser's step."""

from __future__ import annotations

import torch
from mmengine.hooks import Hook
from torch import Tensor, nn
from torch.optim import Optimizer

from viewplug.data_passes import passes_done, tell_iters_per_pass
from viewplug.registry import HOOKS
from viewplug.unwrapping import unwrapped


class StepGradientHook(Hook):
    """Changes gradients right before each step of the optimiser, behind all reduction, unscaling and clipping.

    It hangs on the optimiser itself, so gradient accumulation and mixed precision need no care, but for one case: fused
    optimisers divide by a loss scale in their own kernel. Gradients are then still scaled by ``optimizer.grad_scale``,
    which torch's GradScaler puts there (None: not scaled) for as long as the step takes.
    """

    _handle = None

    def before_train(self, runner) -> None:
        optimizer = getattr(runner.optim_wrapper, 'optimizer', None)
        if not isinstance(optimizer, Optimizer):
            raise ValueError(
                f'{type(self).__name__} needs one optimiser, got optim_wrapper={type(runner.optim_wrapper).__name__}'
            )
        tell_iters_per_pass(runner)
        self.prepare(runner)
        self._handle = optimizer.register_step_pre_hook(lambda stepping, args, kwargs: self.change(runner, stepping))

    def after_train(self, runner) -> None:
        if self._handle is not None:
            self._handle.remove()
            self._handle = None

    def prepare(self, runner) -> None:
        """Once, before training."""

    def change(self, runner, optimizer: Optimizer) -> None:
        """Before each step."""
        raise NotImplementedError


@HOOKS.register_module()
class FreezeLastLayerHook(StepGradientHook):
    """Leave the prototypes as they are in the first epochs (DINO, arXiv:2104.14294, app. A: helps early training).

    Their gradients are dropped before the optimiser's step, so neither weight decay nor moments move them, and DDP sees
    nothing of it. The epoch is the Runner's, in an iteration-based loop the pass over the data: a resumed run goes on
    right.

    Args:
        epochs: number of epochs, 1 for DINO's ViT-S, 3 for its ViT-B; 0 freezes nothing.
        parameters: part of the names of the parameters to freeze.

    Raises:
        ValueError: negative epochs, or, before training, no parameter of such a name.
    """

    def __init__(self, epochs: int = 1, parameters: str = 'last_layer') -> None:
        if epochs < 0:
            raise ValueError(f'FreezeLastLayerHook: epochs must be at least 0, got {epochs}')
        if not parameters:
            raise ValueError("FreezeLastLayerHook: parameters='' is a part of every name and would freeze all")
        self.epochs, self.parameters = epochs, parameters
        self._frozen: list[nn.Parameter] = []

    def prepare(self, runner) -> None:
        model = unwrapped(runner.model)
        named = [(name, p) for name, p in model.named_parameters() if p.requires_grad]
        self._frozen = [p for name, p in named if self.parameters in name]
        if not self._frozen:
            raise ValueError(
                f'FreezeLastLayerHook: no trained parameter has {self.parameters!r} in its name; leave the hook out or '
                "set parameters to a part of the last layers' names"
            )

    def change(self, runner, optimizer: Optimizer) -> None:
        if passes_done(runner) < self.epochs:
            for parameter in self._frozen:
                parameter.grad = None


@HOOKS.register_module()
class ClipEachGradientHook(StepGradientHook):
    """Clip the gradient of each parameter to a length of its own, as DINO's and iBOT's code does.

    ``optim_wrapper.clip_grad`` clips all of them together, which is much stricter at the same number: DINO's 3.0 leaves
    most steps alone.

    Args:
        max_norm: length, above 0.

    Raises:
        ValueError: the length is not above 0.
    """

    def __init__(self, max_norm: float = 3.0) -> None:
        if not max_norm > 0:
            raise ValueError(f'ClipEachGradientHook: max_norm must be above 0, got {max_norm}')
        self.max_norm = max_norm

    def change(self, runner, optimizer: Optimizer) -> None:
        parameters = [p for group in optimizer.param_groups for p in group['params'] if p.grad is not None]
        clip_each(parameters, self.max_norm, getattr(optimizer, 'grad_scale', None))


@torch.no_grad()
def clip_each(parameters: list[nn.Parameter], max_norm: float, grad_scale: Tensor | None = None) -> None:
    """Scale each gradient that is longer than ``max_norm`` down to it, in place.

    Args:
        grad_scale: gradients are this many times what they will count for.
    """
    gradients = [p.grad for p in parameters if p.grad is not None]
    if not gradients:
        return
    lengths = torch.stack(torch._foreach_norm(gradients)).float()
    if grad_scale is not None:
        lengths = lengths / grad_scale.to(lengths)
    factors = (max_norm / (lengths + 1e-6)).clamp_max(1)
    torch._foreach_mul_(gradients, list(factors.unbind()))
