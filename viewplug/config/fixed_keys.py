"""Parts of a config of which mmengine reads some keys and passes over the others without a word."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Iterator, Mapping

from mmengine import Config
from mmengine.hooks import CheckpointHook
from mmengine.logging import print_log
from mmengine.runner import Priority, Runner, get_priority
from torch import nn

from viewplug.nearest import near
from viewplug.registry import class_name

FIXED = {
    'auto_scale_lr': ('base_batch_size', 'enable'),
    'env_cfg': ('cudnn_benchmark', 'mp_cfg', 'dist_cfg', 'resource_limit'),
}
PARAMWISE = (
    'custom_keys',
    'bias_lr_mult',
    'bias_decay_mult',
    'norm_decay_mult',
    'flat_decay_mult',
    'dwconv_decay_mult',
    'dcn_offset_lr_mult',
    'bypass_duplicate',
)
"""Of mmengine's DefaultOptimWrapperConstructor."""
CONSTRUCTORS = ('DefaultOptimWrapperConstructor', 'LARSConstructor')
OF_MMENGINE = ('runtime_info', 'timer', 'sampler_seed', 'logger', 'param_scheduler', 'checkpoint')
OF_OURS = ('resume_check', 'running_stats', 'finite_weights', 'preemption')
"""Names in ``default_hooks`` of viewplug's configs that mmengine has not by itself."""
DEFAULT_HOOKS = (*OF_MMENGINE, *OF_OURS)
NOT_OF_FLEXIBLE = {
    'model_wrapper_cfg': 'strategy.model_wrapper',
    'find_unused_parameters': 'strategy.model_wrapper',
    'sync_bn': 'strategy.sync_bn',
    'compile': 'speed.compile_backbone',
}
"""Keys that mmengine's Runner reads and its FlexibleRunner does not, and what there is in their place."""
HAS_NOT = {
    'DeepSpeedStrategy': ('model_wrapper_cfg', 'find_unused_parameters', 'sync_bn'),
    'FSDPStrategy': ('find_unused_parameters', 'sync_bn'),
    'ColossalAIStrategy': ('find_unused_parameters', 'sync_bn'),
}
"""Those of these keys for which a strategy of mmengine's has nothing. FSDPStrategy takes sync_bn and passes over it."""


def check_fixed_keys(cfg: Config) -> None:
    """
    Raises:
        ValueError: a key that mmengine would pass over, or that is for its other runner; a name in ``default_hooks``
            with which a hook would run beside the one that was meant; a hook's priority that is none; an argument of
            CheckpointHook at which the first checkpoint would fail.
    """
    for part, keys in FIXED.items():
        refuse_others(part, cfg.get(part), keys)
    _check_runner(cfg)
    optim = cfg.get('optim_wrapper') or {}
    if class_name(optim.get('constructor') or CONSTRUCTORS[0]) in CONSTRUCTORS:
        refuse_others('optim_wrapper.paramwise_cfg', optim.get('paramwise_cfg'), PARAMWISE)
        for name, settings in _custom_keys(cfg).items():
            for key in settings:  # others are kept in the optimiser's group, for whoever looks there
                alike = near(key, ('lr_mult', 'decay_mult'), cutoff=0.75)
                if key not in ('lr_mult', 'decay_mult') and alike:
                    raise ValueError(f'optim_wrapper.paramwise_cfg.custom_keys[{name!r}]: nothing reads {key}{alike}')
    for name in cfg.get('default_hooks') or {}:
        alike = near(name, DEFAULT_HOOKS, cutoff=0.85)
        if name not in DEFAULT_HOOKS and alike:
            raise ValueError(
                f'default_hooks.{name} would be one hook more{alike} Hooks beside the default ones belong into '
                'custom_hooks'
            )
    for place, hook in _hooks(cfg):
        _check_priority(place, hook)
    for place, hook in checkpoint_hooks(cfg):
        keys = {**inspect.signature(CheckpointHook).parameters, **inspect.signature(Runner.save_checkpoint).parameters}
        refuse_others(place, hook, [key for key in keys if key not in ('self', 'kwargs')] + ['type', 'priority'])


def _check_runner(cfg: Config) -> None:
    strategy = _type_in(cfg.get('strategy'))
    if class_name(cfg.get('runner_type') or '') == 'FlexibleRunner':
        for key, instead in NOT_OF_FLEXIBLE.items():
            if cfg.get(key) and (key == 'compile' or strategy != 'SingleDeviceStrategy'):
                said = f'FlexibleRunner passes over {key}={cfg[key]!r}'
                if key in HAS_NOT.get(strategy, ()):
                    raise ValueError(f'{said}, and its {strategy} has nothing in its place: set {key}=None')
                raise ValueError(f'{said}: set {instead}, and {key}=None')
        if strategy in HAS_NOT and cfg.strategy.get('sync_bn'):
            raise ValueError(
                f'strategy.sync_bn={cfg.strategy.sync_bn!r}: {strategy} synchronises no batch norm, DDPStrategy does; '
                'set strategy.sync_bn=None'
            )
    elif strategy:
        raise ValueError(f"strategy.type={strategy} is read by FlexibleRunner only: set runner_type='FlexibleRunner'")
    elif _type_in(cfg.get('model_wrapper_cfg')) == 'MMFullyShardedDataParallel':
        raise ValueError(
            "model_wrapper_cfg.type=MMFullyShardedDataParallel: mmengine's Runner would initialise and save shards of "
            "the weights; set runner_type='FlexibleRunner' and strategy.type='FSDPStrategy', and model_wrapper_cfg=None"
        )


def _type_in(part: object) -> str:
    """The bare name of what a part of the config builds; none where it is a variable of the config's own."""
    return class_name(part.get('type') or '') if isinstance(part, Mapping) else ''


def leave_out_hooks(cfg: Config) -> None:
    """``default_hooks.preemption=None`` leaves that hook out. mmengine takes None for its own six only."""
    hooks = cfg.get('default_hooks') or {}
    for name in OF_OURS:
        if name in hooks and hooks[name] is None:
            del hooks[name]


def warn_of_custom_keys(cfg: Config, model: nn.Module) -> None:
    """Of parts of parameters' names in ``paramwise_cfg.custom_keys`` that no parameter has in its name."""
    names = [name for name, _ in model.named_parameters()]
    for key in _custom_keys(cfg):
        if not any(key in name for name in names):
            print_log(
                f'optim_wrapper.paramwise_cfg.custom_keys[{key!r}] changes nothing: no parameter of the model has this '
                'in its name',
                'current',
                logging.WARNING,
            )


def refuse_others(place: str, part: object, keys: tuple[str, ...] | list[str]) -> None:
    """
    Args:
        place: of ``part`` in the config.

    Raises:
        ValueError: ``part`` has a key that is none of ``keys``.
    """
    for key in part if isinstance(part, Mapping) else ():
        if key not in keys and not key.startswith('_'):  # mmengine's _scope_, which inherited parts have
            raise ValueError(f'{place}: nothing reads {key}{near(key, keys) or "; it takes " + ", ".join(keys)}')


def _custom_keys(cfg: Config) -> Mapping[str, Mapping]:
    paramwise = (cfg.get('optim_wrapper') or {}).get('paramwise_cfg') or {}
    found = paramwise.get('custom_keys') if isinstance(paramwise, Mapping) else None
    return found if isinstance(found, Mapping) else {}


def _check_priority(place: str, hook: Mapping) -> None:
    given = hook.get('priority')
    try:
        get_priority('NORMAL' if given is None else given)
    except (KeyError, ValueError, TypeError):
        names = [one.name for one in Priority]
        raise ValueError(
            f'{place}.priority={given!r}: give a number from 0 to 100, or one of {", ".join(names)}'
            f'{near(str(given).upper(), names)}'
        ) from None


def checkpoint_hooks(cfg: Config) -> Iterator[tuple[str, Mapping]]:
    """Their places in the config, and their settings."""
    return ((place, hook) for place, hook in _hooks(cfg) if class_name(hook.get('type') or '') == 'CheckpointHook')


def _hooks(cfg: Config) -> Iterator[tuple[str, Mapping]]:
    hooks = [(f'default_hooks.{name}', hook) for name, hook in (cfg.get('default_hooks') or {}).items()]
    hooks += [(f'custom_hooks.{place}', hook) for place, hook in enumerate(cfg.get('custom_hooks') or [])]
    for place, hook in hooks:
        if isinstance(hook, Mapping):
            yield place, hook
