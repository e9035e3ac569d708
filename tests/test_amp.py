"""bf16 on a CPU."""

import logging

import pytest
import torch

from viewplug import amp
from viewplug.amp import CPUAmpOptimWrapper


def wrapper() -> tuple[torch.nn.Linear, CPUAmpOptimWrapper]:
    model = torch.nn.Linear(4, 2)
    return model, CPUAmpOptimWrapper(torch.optim.SGD(model.parameters(), lr=0.1))


def test_forward_is_in_bf16_and_weights_stay_float32():
    model, optim = wrapper()
    with optim.optim_context(model):
        found = model(torch.randn(3, 4))
    before = model.weight.detach().clone()
    optim.update_params(found.float().sum())
    assert found.dtype == torch.bfloat16 and model.weight.dtype == torch.float32
    assert not torch.equal(model.weight, before)
    assert model(torch.randn(3, 4)).dtype == torch.float32


@pytest.mark.parametrize(('capability', 'warned'), [('AVX2', True), ('NO AVX', True), ('AVX512', False)])
def test_a_processor_without_bf16_instructions_is_warned_of(monkeypatch, capability, warned):
    said = []
    monkeypatch.setattr(amp, 'print_log', lambda *args: said.append(args))
    monkeypatch.setattr(torch.backends.cpu, 'get_cpu_capability', lambda: capability)
    wrapper()
    assert bool(said) == warned
    if warned:
        message, _, level = said[0]
        assert capability in message and '--amp' in message and level == logging.WARNING
