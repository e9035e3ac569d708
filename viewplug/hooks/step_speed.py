"""Switches that make a training step faster and leave its maths alone."""

from __future__ import annotations

from typing import Literal

import torch
from mmengine.hooks import Hook
from mmengine.optim import OptimWrapperDict
from torch import Tensor, nn
from torch.optim import Optimizer

from viewplug.hooks.step_forward import StepForward
from viewplug.registry import HOOKS
from viewplug.unwrapping import unwrapped

SWITCHES = ('channels_last', 'compile_backbone', 'fused_optimizer')

# What 'auto' follows: whether benchmarks/step_switches.py saw a gain on this kind of device; None: not measured there.
GAINS = {
    'cpu': dict(channels_last=True, compile_backbone=False, fused_optimizer=False),
    'cuda': dict(channels_last=None, compile_backbone=None, fused_optimizer=None),
}


@HOOKS.register_module()
class StepSpeedHook(Hook):
    """Run parts of the training step in their fast form; losses and weights stay those of a plain run up to rounding.

    It begins with training, after initialisation, loading or resuming, and inside a DDP wrapper too. The networks it
    speaks of are ``model.backbone`` and each copy of it (the momentum target of viewplug or mmpretrain). They change
    inside training steps only: evaluation runs plain. Weights keep their keys and layout, checkpoints hold what a
    plain run writes, and either kind of run resumes the other's.

    Each switch is False, True or ``'auto'``: on where ``benchmarks/step_switches.py`` measured a gain on this kind of
    device (``GAINS``), else off. One line of the log says which are on.

    Args:
        channels_last: hand the networks their images in NHWC order in memory; convolutions and what follows keep it.
        compile_backbone: ``torch.compile`` the networks' forwards, or a dict of its arguments. A forward runs plain
            while a hook (LocalizationHook's on a ViT) listens to a module inside. Where compiling a forward fails, a
            warning says so and the run goes on without.
        fused_optimizer: one kernel for the update of all weights (SGD, Adam, AdamW of torch).
        tf32: allow (True) or forbid (False) TF32 in float32 convolutions and matrix products on CUDA; None leaves
            torch's settings. This one does change the rounding, so there is no ``'auto'``.

    Raises:
        ValueError: another value; when training begins, a switch set to True that this model, optimiser or torch
            cannot have.
    """

    priority = 'VERY_HIGH'  # evaluation in other hooks comes after the end of a step

    def __init__(
        self,
        channels_last: bool | Literal['auto'] = False,
        compile_backbone: bool | Literal['auto'] | dict = False,
        fused_optimizer: bool | Literal['auto'] = False,
        tf32: bool | None = None,
    ) -> None:
        self.switches = dict(zip(SWITCHES, (channels_last, compile_backbone, fused_optimizer), strict=True))
        self.tf32 = tf32
        self._forwards: list[StepForward] = []
        self._plain_flags: list[list[dict]] = []

    def before_train(self, runner) -> None:
        model = unwrapped(runner.model)
        kind = next(model.parameters()).device.type
        self._forwards = []
        states = {name: self._turn_on(name, kind, model, _optimizers(runner)) for name in SWITCHES}
        if self.tf32 is not None:
            states['tf32'] = _set_tf32(self.tf32, kind)
        runner.logger.info(
            f'StepSpeedHook on {kind}: ' + ', '.join(f'{name} {state}' for name, state in states.items())
        )

    def before_train_iter(self, runner, batch_idx: int, data_batch=None) -> None:
        for forward in self._forwards:
            forward.begin()

    def after_train_iter(self, runner, batch_idx: int, data_batch=None, outputs=None) -> None:
        for forward in self._forwards:
            forward.end()

    def before_save_checkpoint(self, runner, checkpoint: dict) -> None:
        """Torch takes the flags of a loaded optimiser over those of the one in use, so a plain run's are written."""
        if not self._plain_flags or 'optimizer' not in checkpoint:
            return
        several = isinstance(runner.optim_wrapper, OptimWrapperDict)
        saved = checkpoint['optimizer'].values() if several else [checkpoint['optimizer']]
        for state, flags in zip(saved, self._plain_flags, strict=True):
            state['state'] = {key: _counted_on_cpu(values) for key, values in state['state'].items()}
            for group, plain in zip(state['param_groups'], flags, strict=True):
                del group['fused'], group['foreach']
                group.update(plain)

    def _forwards_of(self, model: nn.Module) -> list[StepForward]:
        self._forwards = self._forwards or [StepForward(network) for network in backbones(model)]
        return self._forwards

    def _turn_on(self, name: str, kind: str, model: nn.Module, optimizers: list[Optimizer]) -> str:
        """How the switch stands then: 'on', or 'off' and why."""
        value = self.switches[name]
        if value is False:
            return 'off'
        gain = GAINS.get(kind, {}).get(name)
        if value == 'auto' and not gain:
            return f"off ('auto': {'not measured' if gain is None else 'no gain measured'} on {kind})"
        try:
            return getattr(self, f'_{name}')(value, model, optimizers) or 'on'
        except ValueError as error:
            if value == 'auto':
                return f"off ('auto': {error})"
            raise ValueError(f'StepSpeedHook (speed): {name}={value!r}, but {error}; set it to False') from error

    def _channels_last(self, value, model: nn.Module, optimizers: list[Optimizer]) -> None:
        check_channels_last(backbones(model)[0])
        for forward in self._forwards_of(model):
            forward.channels_last = True

    def _compile_backbone(self, value, model: nn.Module, optimizers: list[Optimizer]) -> str | None:
        options = dict(value) if isinstance(value, dict) else {}
        try:
            for forward in self._forwards_of(model):
                forward.compile(**options)
        except (TypeError, RuntimeError) as error:  # wrong arguments, or a Python that torch.compile does not know
            if options:
                raise ValueError(f'torch.compile says: {error}') from error
            return f'off (torch.compile says: {error})'

    def _fused_optimizer(self, value, model: nn.Module, optimizers: list[Optimizer]) -> None:
        for optimizer in optimizers:
            check_fusable(optimizer)
        self._plain_flags = [fuse(optimizer) for optimizer in optimizers]


def backbones(model: nn.Module) -> list[nn.Module]:
    """The online backbone, then every copy of it in ``model``: modules of its type with the same parameters' names."""
    online = getattr(model, 'backbone', None)
    if online is None:
        raise ValueError(f'{type(model).__name__} has no backbone')
    alike = [module for module in model.modules() if module is not online and type(module) is type(online)]
    return [online, *(module for module in alike if _names(module) == _names(online))]


def check_channels_last(network: nn.Module) -> None:
    """
    Raises:
        ValueError: torch's CPU kernels would crash: the backward pass of a strided 1 x 1 convolution of fewer than 16
            channels writes beyond its memory (seen with torch 2.11 at 96 pixels, an ordinary process dies of it).
    """
    for name, module in network.named_modules():
        if not isinstance(module, nn.Conv2d) or module.weight.device.type != 'cpu':
            continue
        if module.kernel_size == (1, 1) and max(module.stride) > 1 and module.in_channels < 16:
            raise ValueError(f"backbone.{name} has {module.in_channels} channels, torch's CPU kernels need 16 there")


def check_fusable(optimizer: Optimizer) -> None:
    """
    Raises:
        ValueError: torch has no fused kernel for this optimiser on its parameters' device.
    """
    kind, device = type(optimizer), optimizer.param_groups[0]['params'][0].device
    if kind not in (torch.optim.SGD, torch.optim.Adam, torch.optim.AdamW):
        raise ValueError(f'{kind.__name__} has no fused kernel (SGD, Adam and AdamW have)')
    probe = torch.zeros(1, device=device, requires_grad=True)
    probe.grad = torch.zeros_like(probe)
    try:
        kind([probe], lr=0.1, fused=True).step()
    except (TypeError, RuntimeError) as error:
        raise ValueError(f'torch {torch.__version__} has no fused {kind.__name__} on {device.type}') from error


def fuse(optimizer: Optimizer) -> list[dict]:
    """Switch an optimiser to its fused kernel, whatever it has loaded before; each group's flags until now."""
    flags = []
    for group in optimizer.param_groups:
        flags.append({key: group[key] for key in ('fused', 'foreach') if key in group})
        group.update(fused=True, foreach=False)
    for parameter, state in optimizer.state.items():
        for key, value in state.items():
            if key == 'step':  # the fused kernel counts on the device, the plain one on the CPU
                state[key] = torch.as_tensor(value, dtype=torch.float32, device=parameter.device)
            elif isinstance(value, Tensor) and value.shape == parameter.shape:
                # Fused CPU kernels walk through memory: a momentum saved in channels-last order would be mixed up.
                state[key] = torch.empty_like(parameter, dtype=value.dtype, requires_grad=False).copy_(value)
    # The constructor with fused=True sets it too: GradScaler leaves unscaling and the check for inf to the kernel.
    optimizer._step_supports_amp_scaling = True
    return flags


def _names(module: nn.Module) -> list[str]:
    return [name for name, _ in module.named_parameters()]


def _optimizers(runner) -> list[Optimizer]:
    wrapper = runner.optim_wrapper
    wrappers = wrapper.optim_wrappers.values() if isinstance(wrapper, OptimWrapperDict) else [wrapper]
    return [one.optimizer for one in wrappers]


def _set_tf32(allow: bool, kind: str) -> str:
    if kind != 'cuda':
        return f'without effect on {kind}'
    torch.set_float32_matmul_precision('high' if allow else 'highest')
    torch.backends.cudnn.allow_tf32 = allow
    return 'allowed' if allow else 'forbidden'


def _counted_on_cpu(state: dict) -> dict:
    return {key: value.cpu() if key == 'step' and isinstance(value, Tensor) else value for key, value in state.items()}
