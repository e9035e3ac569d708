"""DINO's and iBOT's losses against their equations, and what they keep."""

import pytest
import torch
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode

from viewplug.losses import DINOLoss, IBOTLoss
from viewplug.losses.dino import sharpened


def plain_row(online: torch.Tensor, target: torch.Tensor, temperature: float) -> torch.Tensor:
    """Eq. 2, an element at a time."""
    total = online.new_zeros(())
    for k in range(len(online)):
        total = total - target[k] * (online[k] / temperature - torch.logsumexp(online / temperature, 0))
    return total


def distributions(*shape, dtype=torch.float64):
    return torch.randn(*shape, dtype=dtype).mul(3).softmax(dim=-1)


def test_the_loss_is_the_mean_cross_entropy_of_the_equation():
    online, target = torch.randn(5, 7, dtype=torch.float64), distributions(5, 7)
    expected = sum(plain_row(o, t, 0.1) for o, t in zip(online, target, strict=True)) / 5
    torch.testing.assert_close(DINOLoss(0.1)(online, target), expected)


def test_the_sum_of_two_targets_gives_the_sum_of_two_losses():
    online, first, second = torch.randn(5, 7, dtype=torch.float64), distributions(5, 7), distributions(5, 7)
    loss = DINOLoss(0.3)
    torch.testing.assert_close(loss(online, first + second, mass=2), loss(online, first) + loss(online, second))


@pytest.mark.parametrize('mass', [1.0, 2.0])
def test_gradients_are_those_of_finite_differences(mass):
    online = torch.randn(4, 6, dtype=torch.float64, requires_grad=True)
    target = distributions(4, 6) * mass
    torch.autograd.gradcheck(lambda x: DINOLoss(0.4)(x, target, mass=mass), online)
    masks = torch.tensor([[True, False, True], [False, False, False], [True, True, False]])
    torch.autograd.gradcheck(lambda x: IBOTLoss(0.4)(x, target, masks, mass=mass), online)


def test_many_blocks_give_what_one_gives():
    online, target = torch.randn(90, 8192).requires_grad_(), distributions(90, 8192, dtype=torch.float32)
    found = DINOLoss(0.1)(online, target)
    expected = -(target * F.log_softmax(online / 0.1, dim=1)).sum(1).mean()
    torch.testing.assert_close(found, expected)
    (gradient,) = torch.autograd.grad(found, online)
    torch.testing.assert_close(gradient, torch.autograd.grad(expected, online)[0], atol=1e-7, rtol=1e-4)


def test_ibots_weights_share_an_image_among_its_masked_patches_and_count_images_without():
    masks = torch.zeros(3, 2, 2, dtype=torch.bool)
    masks[0, 0, 0] = masks[2, 0, 1] = masks[2, 1, 0] = masks[2, 1, 1] = True
    online, target = torch.randn(4, 5, dtype=torch.float64), distributions(4, 5)
    rows = [plain_row(o, t, 0.1) for o, t in zip(online, target, strict=True)]
    expected = (rows[0] / 1 + 0 + (rows[1] + rows[2] + rows[3]) / 3) / 3
    torch.testing.assert_close(IBOTLoss(0.1)(online, target, masks), expected)


def test_ibots_loss_without_any_masked_patch_is_0_with_a_gradient():
    online = torch.zeros(0, 5, requires_grad=True)
    loss = IBOTLoss()(online, torch.zeros(0, 5), torch.zeros(3, 4, dtype=torch.bool))
    loss.backward()
    assert loss.item() == 0 and online.grad.shape == (0, 5)


def test_sharpened_targets_are_the_centred_softmax_and_its_entropy():
    logits, center = torch.randn(70, 16384), torch.randn(16384)
    found, entropies = sharpened(logits, center, 0.05)
    expected = ((logits - center) / 0.05).softmax(dim=1)
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(entropies, torch.special.entr(expected).sum(1), atol=1e-4, rtol=1e-4)


def test_half_precision_logits_are_summed_in_float32_and_get_their_own_gradients():
    online = torch.randn(6, 300).bfloat16().requires_grad_()
    target = distributions(6, 300, dtype=torch.float32)
    loss = DINOLoss(0.1)(online, target)
    loss.backward()
    expected = -(target * F.log_softmax(online.detach().float() / 0.1, dim=1)).sum(1).mean()
    torch.testing.assert_close(loss.detach(), expected)
    assert loss.dtype == torch.float32 and online.grad.dtype == torch.bfloat16


class LargeArrays(TorchDispatchMode):
    """Counts the storages of at least ``size`` elements that are made while it is on."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.size, self.made = size, {}

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        for tensor in result if isinstance(result, tuple | list) else [result]:
            if isinstance(tensor, torch.Tensor) and tensor.untyped_storage().nbytes() >= self.size * 4:
                self.made[tensor.untyped_storage().data_ptr()] = tensor  # held, so that no address comes twice
        return result


def arrays_made(loss_of, *inputs) -> tuple[int, int]:
    """How many arrays as large as the logits forward and backward make."""
    known = {tensor.untyped_storage().data_ptr() for tensor in inputs}
    with LargeArrays(inputs[0].numel()) as forward:
        loss = loss_of()
    with LargeArrays(inputs[0].numel()) as backward:
        torch.autograd.grad(loss, inputs[0])
    known |= (seen := set(forward.made) - known)
    return len(seen), len(set(backward.made) - known)


def test_forward_and_backward_make_one_array_as_large_as_the_logits_each():
    online, target = torch.randn(256, 8192, requires_grad=True), distributions(256, 8192, dtype=torch.float32)
    assert arrays_made(lambda: DINOLoss()(online, target), online, target) == (1, 1)
    plain = arrays_made(lambda: -(target * F.log_softmax(online / 0.1, dim=1)).sum(1).mean(), online, target)
    assert plain[0] >= 3 and plain[1] >= 3


def test_neither_logits_nor_targets_are_kept_and_nothing_where_no_gradient_is_asked_for():
    online, target = torch.randn(256, 8192, requires_grad=True), distributions(256, 8192, dtype=torch.float32)
    saved = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: saved.append(t) or t, lambda t: t):
        DINOLoss()(online, target)
    inputs = {online.untyped_storage().data_ptr(), target.untyped_storage().data_ptr()}
    large = [t.untyped_storage().data_ptr() for t in saved if t is not None and t.numel() == online.numel()]
    assert len(large) == 1 and large[0] not in inputs
    with LargeArrays(online.numel()) as without_gradient, torch.no_grad():
        DINOLoss()(online, target)
    with LargeArrays(online.numel()) as of_a_constant:
        DINOLoss()(online.detach(), target)
    assert not {*without_gradient.made, *of_a_constant.made} - inputs


def test_under_autocast_the_loss_of_float32_logits_is_that_of_float32():
    online, target = torch.randn(6, 300), distributions(6, 300, dtype=torch.float32)
    expected = DINOLoss(0.1)(online, target)
    with torch.autocast('cpu', dtype=torch.bfloat16):
        assert torch.equal(DINOLoss(0.1)(online, target), expected)


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
def test_gradients_of_half_precision_logits_are_those_of_float32_to_their_last_digits(dtype):
    """Scaled as a GradScaler scales, with a gradient that float16 could not hold unscaled."""
    scale, online = 2.0**12, torch.randn(8, 4096).to(dtype).repeat(40, 1)  # several blocks
    target = distributions(8, 4096, dtype=torch.float32).repeat(40, 1)
    found, expected = online.clone().requires_grad_(), online.float().requires_grad_()
    (DINOLoss(0.1)(found, target) * scale).backward()
    (DINOLoss(0.1)(expected, target) * scale).backward()
    assert 0 < (expected.grad / scale * 320 * 0.1).abs().median() < 1e-5  # before temperature, mean and scale
    precision = 2 * torch.finfo(dtype).eps
    torch.testing.assert_close(found.grad.float(), expected.grad, rtol=precision, atol=precision * 1e-3)


@pytest.mark.parametrize('kind', [DINOLoss, IBOTLoss])
def test_bad_arguments_are_refused_by_name(kind):
    with pytest.raises(ValueError, match=f'{kind.__name__}: temperature must be above 0, got 0'):
        kind(temperature=0)
    with pytest.raises(ValueError, match=r'logits \(3, 4\) and targets \(3, 5\)'):
        kind().rows(torch.zeros(3, 4), torch.zeros(3, 5))
