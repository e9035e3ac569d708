"""Mixed precision on a CPU."""

from __future__ import annotations

from contextlib import contextmanager

import torch
from mmengine.optim import OptimWrapper
from torch import nn

from viewplug.registry import OPTIM_WRAPPERS


@OPTIM_WRAPPERS.register_module()
class CPUAmpOptimWrapper(OptimWrapper):
    """bf16 autocast on a CPU, where mmengine's AmpOptimWrapper asserts a GPU; bf16 needs no loss scale.

    Arguments as mmengine's OptimWrapper. Worth it on processors with bf16 instructions only.
    """

    @contextmanager
    def optim_context(self, model: nn.Module):
        with super().optim_context(model), torch.autocast('cpu', torch.bfloat16):
            yield
