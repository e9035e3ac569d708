"""A whole training step under torch.compile, as mmengine's ``compile=True`` has it."""

import copy

import pytest
import torch
from toys import mlp_branch, total, toy_siamese, toy_views

EMPTY = mlp_branch(dim=16, queue_len=64)
EMPTY['head']['start'] = 'empty'
MODELS = {
    'a queue that fills, whose length is another at each step': dict(branches=dict(image=EMPTY)),
    'a momentum that rises': dict(target=dict(type='MomentumTarget', momentum=0.9, end_momentum=1.0, total_steps=9)),
    'gradient cache': dict(grad_cache=3),
}


def losses_of(model, step, number: int) -> list[float]:
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.1)
    found = []
    for count in range(number):
        torch.manual_seed(count)
        loss = total(step(toy_views(6), None, mode='loss'))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        found.append(loss.item())
    return found


@pytest.mark.parametrize('name', MODELS)
def test_it_is_compiled_in_the_first_steps_only_and_stays_the_plain_one(name):
    torch.compiler.reset() if hasattr(torch, 'compiler') else torch._dynamo.reset()
    torch.manual_seed(0)
    plain, graphs, before = toy_siamese(**MODELS[name]), [], []
    model = copy.deepcopy(plain)

    def backend(graph, inputs):
        graphs.append(graph)
        return graph.forward

    compiled = torch.compile(model, backend=backend)

    def step(*args, **kwargs):
        before.append(len(graphs))
        return compiled(*args, **kwargs)

    assert losses_of(model, step, 7) == pytest.approx(losses_of(plain, plain, 7), abs=1e-5)
    assert 0 < before[3] == len(graphs)  # the first has nothing to push out of its way, the second moves the target
    for key, value in plain.state_dict().items():
        torch.testing.assert_close(model.state_dict()[key], value, msg=key)
