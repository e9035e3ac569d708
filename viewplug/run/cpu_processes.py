"""Several processes: whether they know of each other, and what they need without a GPU."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping

import torch
from mmengine import Config
from mmengine.logging import print_log

from viewplug.config.training_data import UserError
from viewplug.registry import class_name


def check_launcher(launcher: str) -> None:
    """
    Raises:
        UserError: torchrun has started several processes, and none would know of the others.
    """
    number = int(os.environ.get('WORLD_SIZE', 1))
    if launcher == 'none' and number > 1 and torch.distributed.is_torchelastic_launched():
        raise UserError(
            f'torchrun has started {number} processes, and with --launcher none each would train a run of its own in '
            'the same folder: add --launcher pytorch (tools/dist_train.sh CONFIG NUMBER does)'
        )


def use_gloo(cfg: Config) -> None:
    """Where ``cfg.launcher`` has started several processes and there is no GPU, let them talk over gloo.

    mmengine's launchers expect a GPU for each process; on a CPU the process group has to be there already, and the
    model's wrapper, whatever else the config says of it, is told that there is no device.

    Raises:
        UserError: a launcher whose processes do not know each other; a wrapper that is no dict.
    """
    if torch.cuda.is_available() or cfg.get('launcher', 'none') == 'none':
        return
    if not torch.distributed.is_initialized():
        try:
            torch.distributed.init_process_group('gloo')
        except ValueError as error:  # RANK or another variable is not set
            raise UserError(
                f'--launcher {cfg.launcher} on a CPU takes processes that torchrun starts (tools/dist_train.sh CONFIG '
                f'NUMBER); with Slurm, srun one of those on each node: {error}'
            ) from error
    cfg.env_cfg = dict(cfg.get('env_cfg') or {}, dist_cfg=dict(backend='gloo'))
    if cfg.pop('sync_bn', None):
        message = 'sync_bn needs GPUs: on CPU each process keeps batch statistics of its own'
        print_log(message, 'current', logging.WARNING)
    default = dict(broadcast_buffers=False, find_unused_parameters=bool(cfg.get('find_unused_parameters')))
    if class_name(cfg.get('runner_type') or '') != 'FlexibleRunner':
        cfg.model_wrapper_cfg = _without_device('model_wrapper_cfg', cfg.get('model_wrapper_cfg') or default)
        return
    strategy = cfg.get('strategy') or dict(type='DDPStrategy')
    if isinstance(strategy, Mapping) and class_name(strategy.get('type') or 'DDPStrategy') == 'DDPStrategy':
        wrapper = strategy.get('model_wrapper') or dict(broadcast_buffers=False)
        cfg.strategy = dict(strategy, model_wrapper=_without_device('strategy.model_wrapper', wrapper))


def _without_device(key: str, wrapper: object) -> dict:
    """DistributedDataParallel takes the number of a GPU, which mmengine gives it unless told otherwise."""
    if not isinstance(wrapper, Mapping):
        raise UserError(f"{key}={wrapper!r}: give a dict of the wrapper's arguments, or None")
    return {'type': 'MMDistributedDataParallel', **wrapper, 'device_ids': None}
