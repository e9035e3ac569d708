"""Several processes without a GPU."""

from __future__ import annotations

import logging

import torch
from mmengine import Config
from mmengine.logging import print_log

from viewplug.config.training_data import UserError


def use_gloo(cfg: Config) -> None:
    """Where ``cfg.launcher`` has started several processes and there is no GPU, let them talk over gloo.

    mmengine's launchers expect a GPU for each process; on a CPU the process group has to be there already.

    Raises:
        UserError: a launcher whose processes do not know each other.
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
    cfg.setdefault('env_cfg', {})['dist_cfg'] = dict(backend='gloo')
    if cfg.pop('sync_bn', None):
        message = 'sync_bn needs GPUs: on CPU each process keeps batch statistics of its own'
        print_log(message, 'current', logging.WARNING)
    cfg.model_wrapper_cfg = dict(type='MMDistributedDataParallel', device_ids=None, broadcast_buffers=False)
