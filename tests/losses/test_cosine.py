"""CosineLoss against SimSiam's equation 1 and BYOL's equation 2."""

import math

import pytest
import torch
from mmpretrain.models.losses import CosineSimilarityLoss
from torch.nn.functional import normalize

from viewplug.losses import CosineLoss

P, Z = torch.randn(2, 6, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(7)) * 3


def unit(row: list[float]) -> list[float]:
    norm = math.sqrt(sum(x * x for x in row))
    return [x / norm for x in row]


def rows():
    return [(unit(p), unit(z)) for p, z in zip(P.tolist(), Z.tolist(), strict=True)]


def test_by_default_it_is_simsiams_negative_cosine():
    expected = [-sum(a * b for a, b in zip(p, z, strict=True)) for p, z in rows()]
    assert CosineLoss()(P, Z).item() == pytest.approx(sum(expected) / len(expected), rel=1e-12)


def test_scale_and_shift_2_make_it_byols_squared_distance_of_unit_vectors():
    expected = [sum((a - b) ** 2 for a, b in zip(p, z, strict=True)) for p, z in rows()]
    assert CosineLoss(scale=2, shift=2)(P, Z).item() == pytest.approx(sum(expected) / len(expected), rel=1e-12)


@pytest.mark.parametrize(('scale', 'shift'), [(1, 0), (2, 2), (0.5, -3)])
def test_it_is_mmpretrains_loss_of_the_same_factors(scale, shift):
    assert torch.allclose(CosineLoss(scale, shift)(P, Z), CosineSimilarityLoss(shift, scale)(P, Z))


def test_the_gradient_is_that_of_the_loss():
    p, z = P.clone().requires_grad_(), Z.clone().requires_grad_()
    assert torch.autograd.gradcheck(CosineLoss(2, 2), (p, z))
    assert torch.autograd.gradgradcheck(CosineLoss(2, 2), (p, z))


def test_the_length_of_a_vector_counts_nothing_and_zero_is_no_nan():
    assert torch.allclose(CosineLoss()(P * 100, Z / 100), CosineLoss()(P, Z))
    zero = torch.zeros(2, 5, requires_grad=True)
    loss = CosineLoss()(zero, torch.randn(2, 5))
    loss.backward()
    assert loss == 0 and zero.grad.isfinite().all()


def test_a_row_shorter_than_torchs_normalize_allows_has_the_gradient_of_normalize():
    short = torch.cat([P[:1] * 1e-14, P[1:]]).requires_grad_()
    (mine,) = torch.autograd.grad(CosineLoss()(short, Z), short)
    plain = -(normalize(short, dim=1) * normalize(Z, dim=1)).sum(dim=1).mean()
    (expected,) = torch.autograd.grad(plain, short)
    assert short[0].norm() < 1e-12 and torch.allclose(mine, expected, rtol=1e-9)


def test_under_autocast_the_loss_is_float32():
    p, z = P.bfloat16(), Z.bfloat16()
    with torch.autocast('cpu', dtype=torch.bfloat16):
        loss = CosineLoss()(p, z)
    assert loss.dtype == torch.float32 and torch.equal(loss, CosineLoss()(p.float(), z.float()))


def test_other_shapes_are_refused_instead_of_broadcast():
    with pytest.raises(ValueError, match=r'\(6, 5\) and targets \(1, 5\) differ'):
        CosineLoss()(P, Z[:1])


@pytest.mark.parametrize('scale', [0, -1.0, float('nan')])
def test_a_scale_that_is_not_above_zero_is_refused_by_name(scale):
    with pytest.raises(ValueError, match=f'scale must be (above 0|a number), got {scale}'):
        CosineLoss(scale)
