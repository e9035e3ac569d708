"""weighted_info_nce against the sum written out, and what it keeps in memory."""

import pytest
import torch
from torch.autograd.graph import saved_tensors_hooks
from torch.nn.functional import normalize
from torch.utils._python_dispatch import TorchDispatchMode

from viewplug.losses import info_nce_of_rows
from viewplug.losses.info_nce_of_rows import weighted_info_nce

T = 0.2


def unit(*shape) -> torch.Tensor:
    return normalize(torch.randn(*shape).double(), dim=-1).requires_grad_()


def written_out(queries, positives, negatives, weights, temperature):
    total = 0
    for query, positive, weight in zip(queries, positives, weights, strict=True):
        similar = torch.exp(query @ positive / temperature)
        others = sum(torch.exp(query @ negative / temperature) for negative in negatives)
        total = total - weight * torch.log(similar / (similar + others))
    return total


@pytest.mark.parametrize('chunk', [1, 30, 10**6])
def test_value_and_gradients_are_those_of_the_sum_written_out(monkeypatch, chunk):
    monkeypatch.setattr(info_nce_of_rows, 'CHUNK_ELEMENTS', chunk)
    arguments, weights = [unit(7, 4), unit(7, 4), unit(9, 4)], torch.rand(7).double()
    weights[2] = 0
    found = weighted_info_nce(*arguments, weights, T)
    expected = written_out(*arguments, weights, T)
    assert torch.allclose(found, expected, rtol=1e-10)
    gradients = [torch.autograd.grad(3 * loss, arguments) for loss in (found, expected)]
    for a, b in zip(*gradients, strict=True):
        assert torch.allclose(a, b, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize('chunk', [1, 30, 10**6])
def test_a_query_s_excluded_row_is_no_negative_of_it_and_of_others_is(monkeypatch, chunk):
    monkeypatch.setattr(info_nce_of_rows, 'CHUNK_ELEMENTS', chunk)
    queries, positives, negatives = arguments = [unit(4, 3), unit(4, 3), unit(6, 3)]
    excluded, weights = torch.tensor([5, 0, 0, 2]), torch.rand(4).double()
    found = weighted_info_nce(*arguments, weights, T, excluded)
    rests = [negatives[[j for j in range(6) if j != out]] for out in excluded.tolist()]
    rows = zip(queries, positives, rests, weights, strict=True)
    expected = sum(written_out(q[None], p[None], rest, w[None], T) for q, p, rest, w in rows)
    assert torch.allclose(found, expected, rtol=1e-10)
    gradients = [torch.autograd.grad(loss, arguments) for loss in (found, expected)]
    for a, b in zip(*gradients, strict=True):
        assert torch.allclose(a, b, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize('needed', [(0,), (1, 2), (2,)])
def test_only_gradients_that_are_asked_for_are_computed_and_are_right(needed):
    arguments = [unit(5, 4), unit(5, 4), unit(6, 4)]
    for place, argument in enumerate(arguments):
        argument.requires_grad_(place in needed)
    kept = []
    with saved_tensors_hooks(lambda x: kept.append(x) or x, lambda x: x):
        loss = weighted_info_nce(*arguments, torch.rand(5).double(), T)
    assert len(kept) == len(needed)
    assert torch.autograd.gradcheck(
        lambda *given: weighted_info_nce(*given, torch.full((5,), 0.3).double(), T), arguments
    )
    loss.backward()
    assert [argument.grad is not None for argument in arguments] == [place in needed for place in range(3)]


def test_similarities_far_beyond_what_exp_can_hold_stay_finite():
    arguments = [(100 * unit(3, 4)).detach().float().requires_grad_() for _ in range(3)]
    loss = weighted_info_nce(*arguments, torch.ones(3), 0.05)
    loss.backward()
    assert loss.isfinite() and all(argument.grad.isfinite().all() for argument in arguments)


class Largest(TorchDispatchMode):
    """The most elements of any tensor made."""

    numel = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        out = function(*args, **(kwargs or {}))
        if isinstance(out, torch.Tensor):
            self.numel = max(self.numel, out.numel())
        return out


def test_no_matrix_of_similarities_is_ever_made_or_kept(monkeypatch):
    monkeypatch.setattr(info_nce_of_rows, 'CHUNK_ELEMENTS', 2**16)
    queries, positives, negatives = (
        normalize(torch.randn(rows, 16), dim=1).requires_grad_() for rows in (1024, 1024, 4096)
    )
    kept = []
    with saved_tensors_hooks(lambda x: kept.append(x.numel()) or x, lambda x: x), Largest() as seen:
        weighted_info_nce(queries, positives, negatives, torch.ones(1024), T).backward()
    assert seen.numel == 2**16  # of 2^22
    assert sum(kept) == 16 * (1024 + 1024 + 4096)


def test_negatives_without_a_gradient_are_taken_a_few_at_a_time(monkeypatch):
    monkeypatch.setattr(info_nce_of_rows, 'BLOCK_ELEMENTS', dict(cpu=2**16))
    queries, positives, negatives = (normalize(torch.randn(rows, 16), dim=1) for rows in (2048, 2048, 4096))
    queries.requires_grad_()
    kept = []
    with saved_tensors_hooks(lambda x: kept.append(x.numel()) or x, lambda x: x), Largest() as seen:
        weighted_info_nce(queries, positives, negatives, torch.ones(2048), T).backward()
    assert seen.numel == 2**16  # of 2^23
    assert kept == [16 * 2048]


@pytest.mark.parametrize(('queries', 'elements'), [(1, 1), (3, 12), (1024, 2**20)])
@pytest.mark.parametrize('rising', [False, True])
def test_blocks_of_negatives_give_what_all_at_once_give(monkeypatch, queries, elements, rising):
    monkeypatch.setattr(info_nce_of_rows, 'BLOCK_QUERIES', queries)
    monkeypatch.setattr(info_nce_of_rows, 'BLOCK_ELEMENTS', dict(cpu=elements))
    arguments, weights = [unit(7, 4), unit(7, 4), unit(9, 4).detach()], torch.rand(7).double()
    if rising:  # the largest similarity comes last, far above the others
        arguments[2] = arguments[0].detach()[:1] * torch.logspace(-2, 1, 9).double()[:, None]
    found, expected = weighted_info_nce(*arguments, weights, T), written_out(*arguments, weights, T)
    assert torch.allclose(found, expected, rtol=1e-10)
    gradients = [torch.autograd.grad(3 * loss, arguments[:2], retain_graph=True) for loss in (found, expected)]
    for a, b in zip(*gradients, strict=True):
        assert torch.allclose(a, b, rtol=1e-9, atol=1e-12)
    of_positives = weighted_info_nce(arguments[0].detach(), *arguments[1:], weights, T)
    assert torch.allclose(torch.autograd.grad(3 * of_positives, arguments[1])[0], gradients[1][1], rtol=1e-9)


def test_without_negatives_the_loss_and_its_gradient_are_0():
    arguments = [unit(3, 4), unit(3, 4), torch.zeros(0, 4).double()]
    loss = weighted_info_nce(*arguments, torch.ones(3).double(), T)
    assert loss.item() == 0
    for gradient in torch.autograd.grad(loss, arguments[:2]):
        assert not gradient.any()


def test_a_query_that_has_found_its_key_loses_no_digits():
    query = torch.tensor([[1.0, 0.0]]).requires_grad_()
    others = torch.tensor([[0.0, 1.0], [0.6, 0.8]])
    loss = weighted_info_nce(query, query.detach(), others, torch.ones(1), 0.04)
    (gradient,) = torch.autograd.grad(loss, query)
    exact = query.detach().double().requires_grad_()
    expected = written_out(exact, query.detach().double(), others.double(), torch.ones(1), 0.04)
    (true,) = torch.autograd.grad(expected, exact)
    assert expected < 1e-4
    torch.testing.assert_close(loss.double(), expected.detach(), rtol=2e-6, atol=0)
    torch.testing.assert_close(gradient.double(), true, rtol=2e-6, atol=0)


def test_nothing_is_made_for_backward_without_gradients():
    queries = unit(5, 4)
    kept = []
    with torch.no_grad(), saved_tensors_hooks(lambda x: kept.append(x) or x, lambda x: x):
        loss = weighted_info_nce(queries, unit(5, 4), unit(6, 4), torch.ones(5).double(), T)
    assert not kept and not loss.requires_grad


def test_compiled_code_has_its_gradients():
    rows, weights = [unit(4, 3), unit(4, 3), unit(6, 3)], torch.full((4,), 0.25).double()

    def gradients(function):
        return torch.autograd.grad(function(*rows, weights, T), rows)

    compiled = torch.compile(weighted_info_nce, backend='eager')
    for found, expected in zip(gradients(compiled), gradients(weighted_info_nce), strict=True):
        torch.testing.assert_close(found, expected)
