"""Mixed precision on a CPU."""

from __future__ import annotations

import logging
from contextlib import contextmanager

import torch
from mmengine.logging import print_log
from mmengine.optim import OptimWrapper
from torch import nn

from viewplug.registry import OPTIM_WRAPPERS

WITHOUT_BF16 = ('NO AVX', 'AVX2')
"""Of torch.backends.cpu.get_cpu_capability(): x86 without AVX-512. 'DEFAULT' is said by other processors too."""


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
                'twenty times slower than in float32 (benchmarks/step_switches.py). Leave --amp out, or '
                "optim_wrapper.type='viewplug.CPUAmpOptimWrapper'.",
                'current',
                logging.WARNING,
            )

    @contextmanager
    def optim_context(self, model: nn.Module):
        with super().optim_context(model), torch.autocast('cpu', torch.bfloat16):
            yield
