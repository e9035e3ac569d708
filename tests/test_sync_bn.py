"""mmengine's ``sync_bn`` together with a momentum target, as far as one process without a GPU can tell."""

import copy

import pytest
import torch
from mmengine.model import convert_sync_batchnorm
from torch import nn
from toys import ToyBackbone, total, toy_siamese, toy_views


def model_of(eman: bool):
    torch.manual_seed(1)
    target = dict(type='MomentumTarget', momentum=0.9, eman=eman)
    return toy_siamese(backbone=ToyBackbone(batch_norm=True), target=target)


def trained(model, steps: int = 3) -> list[float]:
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.1)
    generator = torch.Generator().manual_seed(2)
    losses = []
    for _ in range(steps):
        loss = total(model.loss(list(torch.randn(2, 8, 3, 16, 16, generator=generator))))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


@pytest.mark.parametrize('eman', [False, True])
def test_online_and_target_are_both_converted_and_train_as_before_on_one_process(eman):
    plain, synced = model_of(eman).train(), model_of(eman)
    before = copy.deepcopy(synced.state_dict())
    synced = convert_sync_batchnorm(synced, 'torch').train()
    for network in (synced.backbone, synced.target.backbone):
        assert sum(isinstance(module, nn.SyncBatchNorm) for module in network.modules()) == 1
    assert not any(type(module) is nn.BatchNorm2d for module in synced.modules())
    assert all(torch.equal(value, before[key]) for key, value in synced.state_dict().items())
    assert trained(synced) == trained(plain)
    assert all(torch.equal(value, plain.state_dict()[key]) for key, value in synced.state_dict().items())


def test_the_target_stays_without_gradient_and_with_eman_in_evaluation_mode():
    model = convert_sync_batchnorm(model_of(eman=True), 'torch').train()
    assert not any(parameter.requires_grad for parameter in model.target.parameters())
    assert not any(module.training for module in model.target.backbone.modules())
    assert model.backbone.layers[1].training
    model.loss(toy_views())
    assert model.target.steps == 1
