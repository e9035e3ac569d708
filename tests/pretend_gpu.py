"""A GPU for a machine without one: tensors that say ``cuda:0``, compute on the CPU, and tell who mixes and who waits.

What it shows: code that would mix devices, take a GPU tensor for a NumPy array, or wait for the device. What it cannot
show: CUDA's own kernels, what types they take and how they round, speed, memory, streams, several GPUs.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator
from unittest import mock

import pytest
import torch
from gpu_tensor import GPU, PretendGpu, pin_memory
from torch import Tensor
from torch.utils._pytree import tree_map


class Autocast(torch.autocast):
    """``autocast('cuda')`` for tensors that compute on the CPU."""

    def __init__(self, device_type: str, *args, **kwargs) -> None:
        super().__init__('cpu' if device_type == 'cuda' else device_type, *args, **kwargs)


def load(read: Callable, *args, map_location=None, **kwargs):
    """``torch.load``, to the GPU too."""
    if map_location is None or callable(map_location) or torch.device(map_location).type != 'cuda':
        return read(*args, map_location=map_location, **kwargs)
    found = read(*args, map_location='cpu', **kwargs)
    return tree_map(lambda value: value.to(GPU) if isinstance(value, Tensor) else value, found)


@contextlib.contextmanager
def pretend_gpu() -> Iterator[PretendGpu]:
    """``torch.cuda`` answers as with one GPU, and tensors on ``cuda`` are ``GpuTensor``; skips where there is one."""
    if torch.cuda.is_available():
        pytest.skip('there is a GPU')
    answers = dict(
        is_available=lambda: True,
        device_count=lambda: 1,
        current_device=lambda: 0,
        is_initialized=lambda: True,
        _lazy_init=lambda: None,
        synchronize=lambda device=None: None,
        set_device=lambda device: None,
        manual_seed=lambda seed: None,
        manual_seed_all=lambda seed: None,
        get_rng_state=lambda device='cuda': torch.get_rng_state(),
        set_rng_state=lambda state, device='cuda': None,
        empty_cache=lambda: None,
        max_memory_allocated=lambda device=None: 0,
        memory_allocated=lambda device=None: 0,
        reset_peak_memory_stats=lambda device=None: None,
        is_bf16_supported=lambda including_emulation=True: True,
        is_current_stream_capturing=lambda: False,
        get_device_name=lambda device=None: 'a pretended GPU',
    )
    torch._C._ensureCUDADeviceGuardSet()
    lifted = torch._C._only_lift_cpu_tensors()
    with contextlib.ExitStack() as stack:
        for name, answer in answers.items():
            stack.enter_context(mock.patch.object(torch.cuda, name, answer))
        stack.enter_context(mock.patch.object(Tensor, 'pin_memory', pin_memory))
        stack.enter_context(mock.patch.object(torch, 'autocast', Autocast))
        stack.enter_context(mock.patch.object(torch, 'load', functools.partial(load, torch.load)))
        stack.enter_context(mock.patch('mmengine.device.utils.DEVICE', 'cuda'))
        torch._C._set_only_lift_cpu_tensors(True)  # so that torch.tensor(..., device='cuda') comes by here
        stack.callback(torch._C._set_only_lift_cpu_tensors, lifted)
        # Else Module.to would write into .data of CPU parameters.
        torch.__future__.set_swap_module_params_on_conversion(True)
        stack.callback(torch.__future__.set_swap_module_params_on_conversion, False)
        yield stack.enter_context(PretendGpu())
