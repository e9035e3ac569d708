"""InfoNCELoss against HCL's equations 1 and 2."""

import math

import pytest
import torch

from viewplug.losses import InfoNCELoss
from viewplug.losses.info_nce import info_nce


def by_the_equation(positive, negatives, temperature):
    """-log sim(x1, x2) / (sim(x1, x2) + sum sim(x1, x')), averaged; one number at a time."""
    terms = []
    for p, row in zip(positive.tolist(), negatives.tolist(), strict=True):
        sim = math.exp(p / temperature)
        terms.append(-math.log(sim / (sim + sum(math.exp(n / temperature) for n in row))))
    return sum(terms) / len(terms)


@pytest.mark.parametrize('temperature', [0.07, 0.2, 1.0])
def test_the_loss_is_minus_the_log_of_the_positives_share(temperature):
    positive, negatives = torch.rand(6).double() * 2 - 1, torch.rand(6, 11).double() * 2 - 1
    expected = by_the_equation(positive, negatives, temperature)
    assert info_nce(positive, negatives, temperature).mean().item() == pytest.approx(expected, rel=1e-12)
    module = InfoNCELoss(temperature)
    assert module(positive, negatives).item() == pytest.approx(expected, rel=1e-5)
    assert module(positive[:, None], negatives).item() == pytest.approx(expected, rel=1e-5)


def test_the_gradient_is_that_of_the_loss():
    positive = torch.randn(5, dtype=torch.float64, requires_grad=True)
    negatives = torch.randn(5, 7, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda p, n: info_nce(p, n, 0.2), (positive, negatives))
    assert torch.autograd.gradcheck(lambda n: info_nce(positive.detach(), n, 0.2).mean(), (negatives,))


def test_blocks_of_rows_give_what_one_block_gives():
    positive, negatives = torch.randn(9).double(), torch.randn(9, 300_000).double()  # three rows a block
    written_out = torch.cat([positive[:, None], negatives], dim=1).div(0.2)
    expected = torch.logsumexp(written_out, dim=1) - written_out[:, 0]
    assert torch.allclose(info_nce(positive, negatives, 0.2), expected, rtol=1e-12)


@pytest.mark.parametrize('size', [1e3, 1e6])
def test_large_similarities_stay_finite(size):
    positive = torch.tensor([size, -size], requires_grad=True)
    negatives = torch.tensor([[size, -size], [size, 0.0]], requires_grad=True)
    loss = InfoNCELoss(0.07)(positive, negatives)
    loss.backward()
    assert torch.isfinite(loss) and torch.isfinite(positive.grad).all() and torch.isfinite(negatives.grad).all()
    assert positive.grad[1].item() == pytest.approx(-0.5 / 0.07)


def test_under_bf16_autocast_the_loss_is_float32():
    positive, negatives = torch.rand(8), torch.rand(8, 100)
    expected = InfoNCELoss(0.2)(positive, negatives)
    with torch.autocast('cpu', dtype=torch.bfloat16):
        assert torch.equal(InfoNCELoss(0.2)(positive, negatives), expected)
        half = InfoNCELoss(0.2)(positive.bfloat16(), negatives.bfloat16())
    assert half.dtype == torch.float32
    assert half.item() == pytest.approx(expected.item(), abs=2e-2)


def test_training_keeps_the_similarities_and_no_second_matrix_of_their_size():
    positive, negatives = torch.rand(8, requires_grad=True), torch.rand(8, 100, requires_grad=True)
    saved = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: saved.append(t) or t, lambda t: t):
        InfoNCELoss(0.2)(positive, negatives)
    large = [tensor for tensor in saved if tensor.numel() >= negatives.numel()]
    assert [tensor.data_ptr() for tensor in large] == [negatives.data_ptr()]


@pytest.mark.parametrize('temperature', [0, -0.2, float('nan')])
def test_a_temperature_that_is_not_above_zero_is_refused_by_name(temperature):
    with pytest.raises(ValueError, match=f'temperature must be (above 0|a number), got {temperature}'):
        InfoNCELoss(temperature)
