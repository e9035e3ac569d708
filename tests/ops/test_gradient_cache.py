"""A batch taken in parts has the gradient of the batch."""

import weakref

import pytest
import torch
from processes import in_processes
from steps import fit
from torch import nn
from toys import ToyBackbone, mlp_branch, total, toy_siamese, toy_views

from viewplug.ops.gradient_cache import in_parts

IN_BATCH = dict(
    neck=dict(type='MLPNeck', out_channels=5),
    head=dict(type='InBatchHead', loss=dict(type='InfoNCELoss', temperature=0.3)),
)
PREDICT = dict(
    neck=dict(type='MLPNeck', out_channels=6, normalize=False),
    head=dict(type='PredictHead', predictor=dict(type='MLPNeck', hidden_channels=4, normalize=False)),
)
SYMMETRIC = dict(online_views=(0, 1), target_views=(0, 1))
FRAMEWORKS = dict(
    simclr=dict(branches=dict(image=IN_BATCH), target=dict(type='SharedTarget'), joint_views=True, **SYMMETRIC),
    one_way=dict(branches=dict(image=IN_BATCH), target=dict(type='SharedTarget')),
    simsiam=dict(branches=dict(image=PREDICT), target=dict(type='StopGradTarget'), **SYMMETRIC),
    byol=dict(branches=dict(image=PREDICT), target=dict(type='MomentumTarget', momentum=0.9), **SYMMETRIC),
    moco=dict(branches=dict(image=mlp_branch()), target=dict(type='MomentumTarget', momentum=0.9)),
)


def model_of(framework: str, backbone: nn.Module | None = None, **changes):
    torch.manual_seed(1)
    return toy_siamese(backbone=backbone or ToyBackbone(), **FRAMEWORKS[framework], **changes).double()


def batches(number: int = 3, images: int = 9) -> list:
    torch.manual_seed(2)
    return [[view.double() for view in toy_views(images)] for _ in range(number)]


def assert_equal_steps(found: list[dict], expected: list[dict]) -> None:
    for a, b in zip(found, expected, strict=True):
        assert a['loss'] == pytest.approx(b['loss'], rel=1e-10)
        for name, gradient in b['gradients'].items():
            assert torch.allclose(a['gradients'][name], gradient, rtol=1e-8, atol=1e-11), name
        for name, value in b['state'].items():
            assert torch.allclose(a['state'][name].double(), value.double(), rtol=1e-8, atol=1e-11), name
    assert max(gradient.abs().max() for gradient in expected[0]['gradients'].values()) > 1e-3


@pytest.mark.parametrize('framework', FRAMEWORKS)
@pytest.mark.parametrize('rows', [1, 4])
def test_steps_in_parts_are_those_of_the_whole_batch(framework, rows):
    expected = fit(model_of(framework), batches(), wrap=False)
    assert_equal_steps(fit(model_of(framework, grad_cache=rows), batches(), wrap=False), expected)


def gradients_without_graph_between(model, views, rows: int) -> list[torch.Tensor]:
    """The paper's algorithm, step by step: embeddings without graph, the loss's gradient on them, then part by part."""
    parts = list(zip(*(view.split(rows) for view in views), strict=True))
    encode = lambda images: torch.stack([model.encode(image)['image'] for image in images])  # noqa: E731
    with torch.no_grad():
        whole = torch.cat([encode(part) for part in parts], dim=1)
    whole.requires_grad_()
    head = model.branches['image'].head
    loss = (head.loss(whole[0], whole[1])['loss'] + head.loss(whole[1], whole[0])['loss']) / 2
    loss.backward()
    for part, gradient in zip(parts, whole.grad.split(rows, dim=1), strict=True):
        (encode(part) * gradient).sum().backward()
    return [p.grad for p in model.parameters()]


def test_the_gradient_is_that_of_the_papers_two_passes():
    views = batches(1, images=8)[0]
    expected = gradients_without_graph_between(model_of('simclr'), views, rows=4)
    model = model_of('simclr', grad_cache=4)
    total(model.loss(views)).backward()
    for parameter, gradient in zip(model.parameters(), expected, strict=True):
        assert torch.allclose(parameter.grad, gradient, rtol=1e-9, atol=1e-12)


class Noisy(ToyBackbone):
    """With dropout and batch norm: what the second pass must repeat, and what it must not count."""

    def __init__(self) -> None:
        super().__init__(batch_norm=True)
        self.layers.append(nn.Dropout(0.3))


@pytest.mark.parametrize('joint', [True, False])
def test_batch_norm_sees_the_parts_and_counts_each_image_once(joint):
    """The known difference: equal to encoding the parts one after the other with everything kept, not to the batch."""
    changes = dict(FRAMEWORKS['simclr'], joint_views=joint)
    torch.manual_seed(1)
    plain = toy_siamese(backbone=Noisy(), **changes).double()
    torch.manual_seed(1)
    cached = toy_siamese(backbone=Noisy(), grad_cache=4, **changes).double()
    views = batches(1, images=12)[0]
    torch.manual_seed(3)
    loss = total(cached.loss(views))
    loss.backward()

    torch.manual_seed(3)
    whole = []
    for part in zip(*(view.split(4) for view in views), strict=True):
        apart = [plain.encode(image)['image'] for image in part] if not joint else None
        whole.append(torch.stack(apart) if apart else plain.encode(torch.cat(part))['image'].view(2, 4, -1))
    a, b = torch.cat(whole, dim=1)
    head = plain.branches['image'].head
    expected = (head.loss(a, b)['loss'] + head.loss(b, a)['loss']) / 2
    expected.backward()
    assert loss.item() == pytest.approx(expected.item(), rel=1e-12)
    for (name, mine), theirs in zip(cached.named_parameters(), plain.parameters(), strict=True):
        assert torch.allclose(mine.grad, theirs.grad, rtol=1e-9, atol=1e-12), name
    for (name, mine), theirs in zip(cached.named_buffers(), plain.buffers(), strict=True):
        assert torch.equal(mine, theirs), name
    norm = cached.backbone.layers[1]
    assert norm.num_batches_tracked == (3 if joint else 6) and norm.momentum == 0.1


def test_activations_of_one_part_are_alive_at_a_time():
    alive: list[weakref.ref] = []
    peak = 0

    def watch(module, args, output):
        nonlocal peak
        alive.append(weakref.ref(output))
        peak = max(peak, sum(ref().shape[0] for ref in alive if ref() is not None))

    peaks = {}
    for rows in (None, 4):
        model = model_of('simclr', grad_cache=rows)
        model.backbone.layers[1].register_forward_hook(watch)
        peak, alive[:] = 0, []
        total(model.loss(batches(1, images=32)[0])).backward()
        peaks[rows] = peak
    assert peaks == {None: 64, 4: 8}  # both views


def _steps(rows: int | None):
    return fit(model_of('simclr', grad_cache=rows), batches(images=8), wrap=True)


def test_two_processes_that_gather_and_cache_take_the_steps_of_one(tmp_path):
    expected = fit(model_of('simclr'), batches(images=8), wrap=False)
    for ranks in zip(*in_processes(_steps, tmp_path, 3), expected, strict=True):
        *found, alone = ranks
        assert sum(step['loss'] for step in found) / 2 == pytest.approx(alone['loss'], rel=1e-10)
        for step in found:
            for name, gradient in alone['gradients'].items():
                assert torch.allclose(step['gradients'][name], gradient, rtol=1e-8, atol=1e-11), name


def test_bf16_autocast_of_the_first_pass_comes_back_in_the_second():
    seen = []
    model = model_of('simclr', grad_cache=4).float()
    model.backbone.layers[0].register_forward_hook(lambda module, args, output: seen.append(output.dtype))
    with torch.autocast('cpu', dtype=torch.bfloat16):
        loss = total(model.loss([view.float() for view in batches(1)[0]]))
    loss.backward()
    assert len(seen) == 6 and set(seen) == {torch.bfloat16}


def test_parts_of_nested_outputs_are_joined_and_differ_by_one_row_at_most():
    sizes = []

    def function(part):
        sizes.append(len(part[0]))
        return dict(a=(part[0] * 2, [part[1]]))

    x, y = torch.randn(9, 2), torch.randn(9, 3)
    with torch.no_grad():
        found = in_parts(function, [x, y], 4, nn.Identity())
    assert sizes == [3, 3, 3]  # not 4, 4 and a batch of one
    assert torch.equal(found['a'][0], 2 * x) and torch.equal(found['a'][1][0], y)


def test_a_compiled_step_computes_its_parts_as_ever():
    batches, states = [toy_views(6) for _ in range(3)], []
    for compiled in (False, True):
        torch.manual_seed(0)
        model = toy_siamese(backbone=ToyBackbone(batch_norm=True), grad_cache=4)
        optimiser = torch.optim.SGD(model.parameters(), lr=0.1)

        def step(views, model=model, optimiser=optimiser):
            total(model.loss(views)).backward()
            optimiser.step()

        step = torch.compile(step, backend='eager') if compiled else step
        for views in batches:
            step(views)
        states.append(model.state_dict())
    for name, value in states[0].items():
        torch.testing.assert_close(states[1][name], value)


@pytest.mark.parametrize('rows', [0, -4])
def test_no_images_at_a_time_is_refused(rows):
    with pytest.raises(ValueError, match=f'model.grad_cache is a number of images.*got {rows}'):
        model_of('simclr', grad_cache=rows)
