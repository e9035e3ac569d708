"""Gradients accumulated over several forwards, optim_wrapper.accumulative_counts."""

import pytest
import torch
from mmengine.optim import OptimWrapper
from toys import total, toy_siamese, toy_views


def trained(batches, counts: int, interval: int) -> dict[str, torch.Tensor]:
    """BYOL without batch norm, each batch in ``counts`` forwards; weights, the target's among them, at the end."""
    torch.manual_seed(0)
    mlp = dict(type='viewplug.MLPNeck', out_channels=8, normalize=False)
    head = dict(type='viewplug.PredictHead', predictor=dict(type='viewplug.MLPNeck', normalize=False))
    steps = len(batches) * counts
    target = dict(
        type='viewplug.MomentumTarget', momentum=0.5, end_momentum=1.0, total_steps=steps, update_interval=interval
    )
    model = toy_siamese(
        branches=dict(image=dict(neck=mlp, head=head)), target=target, online_views=(0, 1), target_views=(0, 1)
    )
    wrapper = OptimWrapper(torch.optim.SGD(model.parameters(), lr=0.2, momentum=0.9), accumulative_counts=counts)
    wrapper.initialize_count_status(model, 0, steps)
    for views in batches:
        for part in zip(*(view.chunk(counts) for view in views), strict=True):
            wrapper.update_params(total(model.loss(part)))
    assert model.target.steps == steps
    return {name: weight.detach() for name, weight in model.named_parameters()}


@pytest.mark.parametrize('counts', [2, 4])
def test_a_target_that_moves_with_the_optimiser_takes_the_steps_of_whole_batches(counts):
    batches = [toy_views(8) for _ in range(6)]
    whole, parts, apart = trained(batches, 1, 1), trained(batches, counts, counts), trained(batches, counts, 1)
    for name, weight in whole.items():
        torch.testing.assert_close(parts[name], weight, rtol=1e-4, atol=1e-6)
    name = 'target.backbone.layers.0.weight'
    assert (apart[name] - whole[name]).abs().max() > 1e-4  # it moved at each forward
