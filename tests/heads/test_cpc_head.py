"""CPCHead against the equation, one similarity at a time, in one process and in two."""

import math

import pytest
import torch
from mmengine.dist import get_rank
from processes import in_processes
from torch import nn
from torch.nn.functional import normalize
from torch.nn.parallel import DistributedDataParallel

from viewplug.heads import CPCHead
from viewplug.losses import info_nce_of_rows
from viewplug.necks.masked_conv import DIRECTIONS, toward

ROWS, COLS, DIM, T = 4, 3, 5, 0.7
LOSS = dict(type='InfoNCELoss', temperature=T)
STEP = dict(down=(1, 0), up=(-1, 0), right=(0, 1), left=(0, -1))


def a_head(directions=DIRECTIONS, offsets=(1, 2), **settings) -> CPCHead:
    return CPCHead(DIM, offsets=offsets, directions=directions, loss=LOSS, **settings).double()


def batch(images: int = 3, directions=DIRECTIONS):
    """Contexts in the image's own frame, one map a direction, and latents."""
    contexts = {name: torch.randn(images, DIM, ROWS, COLS).double() for name in directions}
    return contexts, torch.randn(images, DIM, ROWS, COLS).double()


def turned(contexts: dict) -> dict:
    return {name: toward(context, name) for name, context in contexts.items()}


def plain(head: CPCHead, contexts: dict, latents: torch.Tensor) -> float:
    """Equations 1 and 2: for each direction, offset and position one softmax written out."""
    images = len(latents)
    unit = (lambda v: normalize(v, dim=0)) if head.normalize else (lambda v: v)
    places = [(n, i, j) for n in range(images) for i in range(ROWS) for j in range(COLS)]
    z = {(n, i, j): unit(head.target(latents[n, :, i, j])) for n, i, j in places}
    means = []
    for direction, maps in head.predictors.items():
        down, right = STEP[direction]
        for k, linear in zip(head.offsets, maps, strict=True):
            terms = []
            for n, i, j in places:
                target = (n, i + k * down, j + k * right)
                if target not in z:
                    continue
                predicted = unit(linear.weight @ contexts[direction][n, :, i, j])
                rivals = [p for p in places if p != target and (head.negatives == 'batch' or p[0] == n)]
                positive = math.exp(float(predicted @ z[target]) / T)
                negatives = sum(math.exp(float(predicted @ z[p]) / T) for p in rivals)
                terms.append(-math.log(positive / (positive + negatives)))
            means.append(sum(terms) / len(terms))
    return sum(means) / len(means)


@pytest.mark.parametrize('negatives', ['batch', 'image'])
@pytest.mark.parametrize('settings', [{}, dict(target_dim=4), dict(normalize=True)], ids=str)
def test_the_loss_is_the_equation_s_in_all_directions(settings, negatives):
    head = a_head(negatives=negatives, **settings)
    contexts, latents = batch()
    found = head.loss(turned(contexts), latents)['loss'].item()
    assert found == pytest.approx(plain(head, contexts, latents), rel=1e-10)


@pytest.mark.parametrize('direction', DIRECTIONS)
def test_each_direction_alone_predicts_what_lies_there(direction):
    head = a_head((direction,), offsets=(2,))
    contexts, latents = batch(2, (direction,))
    assert head.loss(turned(contexts), latents)['loss'].item() == pytest.approx(plain(head, contexts, latents))


@pytest.mark.parametrize('direction', DIRECTIONS)
def test_toward_turns_the_direction_down(direction):
    places = torch.arange(ROWS * COLS).view(ROWS, COLS)
    down, right = STEP[direction]
    below = toward(places, direction)[1:]
    here = toward(places, direction)[:-1]
    assert torch.equal(below - here, torch.full_like(here, down * COLS + right))


@pytest.mark.parametrize('negatives', ['batch', 'image'])
def test_the_gradient_is_that_of_the_loss(negatives):
    head = a_head(('down', 'left'), offsets=(1,), target_dim=3, negatives=negatives)
    contexts, latents = batch(2, ('down', 'left'))
    inputs = [x.requires_grad_() for x in (latents, *contexts.values())]

    def loss(latents, down, left):
        return head.loss(turned(dict(down=down, left=left)), latents)['loss']

    assert torch.autograd.gradcheck(loss, inputs)
    loss(*inputs).backward()
    assert all(p.grad.abs().max() > 1e-4 for p in head.parameters())


def test_chunks_of_any_size_give_one_loss_and_one_gradient(monkeypatch):
    head = a_head(target_dim=4)
    contexts, latents = batch()
    results = []
    for elements in (2**24, 100, 1):  # all at once; a few predictions; one
        monkeypatch.setattr(info_nce_of_rows, 'CHUNK_ELEMENTS', elements)
        head.zero_grad()
        x = latents.clone().requires_grad_()
        loss = head.loss(turned(contexts), x)['loss']
        loss.backward()
        results.append([loss.detach(), x.grad, *(p.grad.clone() for p in head.parameters())])
    for chunked in results[1:]:
        assert all(torch.allclose(a, b, rtol=1e-10, atol=1e-13) for a, b in zip(results[0], chunked, strict=True))


def test_memory_is_bounded_by_the_chunk_not_by_the_similarities(monkeypatch):
    seen = []

    class Spy(torch.utils._python_dispatch.TorchDispatchMode):
        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            out = function(*args, **(kwargs or {}))
            seen.extend(x.numel() for x in (out if isinstance(out, tuple | list) else [out]) if torch.is_tensor(x))
            return out

    monkeypatch.setattr(info_nce_of_rows, 'CHUNK_ELEMENTS', 4096)
    head = CPCHead(8, offsets=(1,), loss=LOSS)
    latents, contexts = torch.randn(32, 8, 5, 5), dict(down=torch.randn(32, 8, 5, 5))
    with Spy():
        head.loss(contexts, latents.requires_grad_())['loss'].backward()
    assert max(seen) < 32 * 25 * 8 + 4096 < (32 * 20) * (32 * 25)


def test_a_target_is_never_among_its_own_negatives():
    """Were it, two equal terms would stand below the line and one above, and a sure prediction would cost log 2."""
    head = a_head(('down',), offsets=(1,))
    head.predictors['down'][0].weight.data = torch.eye(DIM).double() * 100
    z = torch.zeros(1, DIM, ROWS, COLS).double()
    for row in range(ROWS):
        z[:, row, row] = 1.0
    z = z[..., :1]
    context = torch.roll(z, -1, dims=2)  # knows the row below
    assert head.loss(dict(down=context), z)['loss'].item() < 1e-12


def test_one_patch_pair_and_no_negatives_cost_nothing():
    head = a_head(('down',), offsets=(1,), negatives='image')
    latents = torch.randn(1, DIM, 2, 1).double()
    expected = head.loss(dict(down=latents), latents)['loss']
    assert torch.isfinite(expected)


class Both(nn.Module):
    """A trunk that contexts and latents come from, so that gradients of all gathered rows meet in parameters."""

    def __init__(self, negatives: str) -> None:
        super().__init__()
        self.trunk = nn.Conv2d(DIM, DIM, 1)
        self.head = CPCHead(DIM, offsets=(1, 2), directions=('down', 'left'), negatives=negatives, loss=LOSS)

    def forward(self, latents):
        latents = self.trunk(latents)
        contexts = {name: toward(latents, name).relu() for name in self.head.predictors}
        return self.head.loss(contexts, latents)['loss']


def a_step(latents: torch.Tensor, negatives: str, share: bool):
    torch.manual_seed(1)
    model = Both(negatives).double()
    if share:
        model, latents = DistributedDataParallel(model), latents.chunk(2)[get_rank()]
    loss = model(latents)
    loss.backward()
    return loss.item(), [p.grad.clone() for p in model.parameters()]


@pytest.mark.parametrize('negatives', ['batch', 'image'])
def test_two_processes_have_the_loss_and_gradients_of_one(negatives, tmp_path):
    latents = torch.randn(4, DIM, ROWS, COLS).double()
    loss, gradients = a_step(latents, negatives, share=False)
    ranks = in_processes(a_step, tmp_path, latents, negatives, True)
    assert sum(each for each, _ in ranks) / 2 == pytest.approx(loss, rel=1e-10) and ranks[0][0] != ranks[1][0]
    for _, found in ranks:
        assert all(torch.allclose(a, b, rtol=1e-9, atol=1e-12) for a, b in zip(found, gradients, strict=True))
    assert max(gradient.abs().max() for gradient in gradients) > 1e-3


def test_low_precision_vectors_are_compared_in_float32():
    head = CPCHead(DIM, offsets=(1,), loss=LOSS)
    latents = torch.randn(2, DIM, ROWS, COLS)
    with torch.autocast('cpu', dtype=torch.bfloat16):
        loss = head.loss(dict(down=latents), latents)['loss']
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(head.loss(dict(down=latents), latents)['loss'].item(), rel=0.05)


@pytest.mark.parametrize(
    ('settings', 'sentence'),
    [
        (dict(offsets=(0, 1)), r'offsets must be .* at least 1, got \(0, 1\)'),
        (dict(directions=('north',)), r"directions must be some of down, up, right, left, each once, got \('north',\)"),
        (dict(directions=('up', 'up')), 'each once'),
        (dict(negatives='queue'), "negatives must be 'batch' or 'image', got 'queue'"),
        (dict(loss=dict(type='CosineLoss')), 'loss must be viewplug.InfoNCELoss itself, .* got CosineLoss'),
    ],
)
def test_settings_that_make_no_sense_are_named(settings, sentence):
    with pytest.raises(ValueError, match=sentence):
        CPCHead(DIM, **settings)


def test_an_offset_beyond_the_grid_is_named():
    contexts, latents = batch(1, ('left',))
    with pytest.raises(ValueError, match=r"offsets=\(1, 3\) reach beyond the grid of \(4, 3\).*has 3.*'left'"):
        a_head(('left',), offsets=(1, 3)).loss(turned(contexts), latents)
