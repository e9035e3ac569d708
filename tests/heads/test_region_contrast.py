"""weighted_info_nce against the sum written out, and what it keeps in memory."""

import pytest
import torch
from torch.autograd.graph import saved_tensors_hooks
from torch.nn.functional import normalize
from torch.utils._python_dispatch import TorchDispatchMode

from viewplug.heads import region_contrast
from viewplug.heads.region_contrast import weighted_info_nce

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
    monkeypatch.setattr(region_contrast, 'CHUNK_ELEMENTS', chunk)
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
    monkeypatch.setattr(region_contrast, 'CHUNK_ELEMENTS', chunk)
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
    monkeypatch.setattr(region_contrast, 'CHUNK_ELEMENTS', 2**16)
    queries, positives, negatives = (
        normalize(torch.randn(rows, 16), dim=1).requires_grad_() for rows in (1024, 1024, 4096)
    )
    kept = []
    with saved_tensors_hooks(lambda x: kept.append(x.numel()) or x, lambda x: x), Largest() as seen:
        weighted_info_nce(queries, positives, negatives, torch.ones(1024), T).backward()
    assert seen.numel == 2**16  # of 2^22
    assert sum(kept) == 16 * (1024 + 1024 + 4096)
