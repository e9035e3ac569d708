"""Mixed precision on a CPU and on a GPU."""

from __future__ import annotations

import logging
from contextlib import contextmanager

import torch
from mmengine import Config
from mmengine.logging import print_log
from mmengine.optim import AmpOptimWrapper as StockAmpOptimWrapper
from mmengine.optim import OptimWrapper
from torch import nn

from viewplug.config.training_data import UserError
from viewplug.registry import OPTIM_WRAPPERS

WITHOUT_BF16 = ('NO AVX', 'AVX2')
"""Of torch.backends.cpu.get_cpu_capability(): x86 without AVX-512. 'DEFAULT' is said by other processors too."""


def set_amp(cfg: Config, precision: str, on_gpu: bool) -> None:
    """Mixed precision 'bf16' or 'fp16' in the optimiser's wrapper, whatever it was."""
    if not on_gpu:
        if precision == 'fp16':
            raise UserError('--amp fp16 is for GPUs, and torch sees none here; a CPU has --amp bf16')
        for key in ('loss_scale', 'dtype', 'use_fsdp'):  # of an AmpOptimWrapper
            cfg.optim_wrapper.pop(key, None)
        cfg.optim_wrapper.type = 'viewplug.CPUAmpOptimWrapper'
        return
    cfg.optim_wrapper.type = 'viewplug.AmpOptimWrapper'
    cfg.optim_wrapper.dtype = {'bf16': 'bfloat16', 'fp16': 'float16'}[precision]
    # bf16 reaches as far as float32: nothing to scale, and no step waits for the GPU to say whether it overflowed.
    if precision == 'bf16':
        cfg.optim_wrapper.loss_scale = dict(enabled=False)


@OPTIM_WRAPPERS.register_module()
class AmpOptimWrapper(StockAmpOptimWrapper):
    """mmengine's AmpOptimWrapper (autocast on a GPU), that also goes on from a run without a loss scale.

    Arguments as there. A checkpoint of a bf16 run with ``loss_scale=dict(enabled=False)`` holds an empty state of the
    GradScaler, which torch refuses to load: fp16 then begins with the scale that it would begin a new run with.
    """

    def load_state_dict(self, state_dict: dict) -> None:
        if state_dict.get('loss_scaler') == {}:
            state_dict.pop('loss_scaler')
            if self.loss_scaler.is_enabled():
                scale = self.loss_scaler.get_scale()
                print_log(f'The checkpoint has no loss scale; fp16 begins with {scale:g}.', 'current')
        super().load_state_dict(state_dict)


@OPTIM_WRAPPERS.register_module()
class CPUAmpOptimWrapper(OptimWrapper):
    """bf16 autocast on a CPU, where mmengine's AmpOptimWrapper asserts a GPU; bf16 needs no loss scale.

    Arguments as mmengine's OptimWrapper. Worth it on processors with bf16 instructions only; where there are none, it
    warns as it is built.
    """

    def __init__(self, *args, **kwargs) -> None:
        super().__init__(*args, **kwargs)
        capability = torch.backends.cpu.get_cpu_capability()
        if capability in WITHOUT_BF16:
            print_log(
                f'bf16 on a CPU without instructions for it (vector unit: {capability}): convolutions become about '
                'twenty times slower than in float32 (docs/configs.md). Leave --amp out, or '
                "optim_wrapper.type='viewplug.CPUAmpOptimWrapper'.",
                'current',
                logging.WARNING,
            )

    @contextmanager
    def optim_context(self, model: nn.Module):
        with super().optim_context(model), torch.autocast('cpu', torch.bfloat16):
            yield
