"""InBatchHead against SimCLR's equation 1, in one process and in two."""

import itertools
import math

import pytest
import torch
from mmengine.dist import get_rank
from processes import in_processes
from torch.nn.functional import normalize
from torch.nn.parallel import DistributedDataParallel
from toys import ToyBackbone, toy_siamese

from viewplug.heads import InBatchHead
from viewplug.losses.info_nce import InfoNCELoss

T = 0.3
LOSS = dict(type='InfoNCELoss', temperature=T)


def unit(*shape) -> torch.Tensor:
    return normalize(torch.randn(*shape).double(), dim=-1)


def nt_xent(views: list[list[list[float]]]) -> float:
    """Equation 1 for every z_i of the 2N, averaged (algorithm 1): one similarity at a time."""
    z = [row for view in views for row in view]
    n = len(z) // 2

    def exp_sim(i: int, k: int) -> float:
        return math.exp(sum(a * b for a, b in zip(z[i], z[k], strict=True)) / T)

    def ell(i: int, j: int) -> float:
        return -math.log(exp_sim(i, j) / sum(exp_sim(i, k) for k in range(2 * n) if k != i))

    return sum(ell(k, k + n) + ell(k + n, k) for k in range(n)) / (2 * n)


def both_ways(head: InBatchHead, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    return (head.loss(a, b)['loss'] + head.loss(b, a)['loss']) / 2


@pytest.mark.parametrize('number', [1, 2, 7])
def test_the_mean_over_both_directions_is_nt_xent_over_all_views(number):
    a, b = unit(number, 5), unit(number, 5)
    found = both_ways(InBatchHead(LOSS), a, b).item()
    assert found == pytest.approx(nt_xent([a.tolist(), b.tolist()]), rel=1e-10, abs=1e-12)


def test_the_gradient_reaches_queries_and_keys():
    head = InBatchHead(LOSS)
    a, b = unit(4, 3).requires_grad_(), unit(4, 3).requires_grad_()
    assert torch.autograd.gradcheck(lambda a, b: head.loss(a, b)['loss'], (a, b))


def test_embeddings_are_left_as_they_came():
    a, b = unit(4, 3), unit(4, 3)
    before = a.clone(), b.clone()
    InBatchHead(LOSS).loss(a, b)
    assert torch.equal(a, before[0]) and torch.equal(b, before[1])


def test_siamese_with_a_shared_target_makes_it_simclr():
    model = simclr()
    views = [torch.randn(6, 3, 16, 16).double() for _ in range(2)]
    z = [model.encode(view)['image'].tolist() for view in views]
    assert model.loss(views)['image.loss'].item() == pytest.approx(nt_xent(z), rel=1e-10)


@pytest.mark.parametrize('joint_views', [False, True])
def test_more_views_give_the_mean_of_nt_xent_over_the_pairs_of_views(joint_views):
    model = simclr(online_views=(0, 1, 2), target_views=(0, 1, 2), joint_views=joint_views)
    views = [torch.randn(4, 3, size, size).double() for size in (16, 16, 8)]
    z = [model.encode(view)['image'].tolist() for view in views]
    expected = [nt_xent([z[i], z[j]]) for i, j in itertools.combinations(range(3), 2)]
    assert model.loss(views)['image.loss'].item() == pytest.approx(sum(expected) / 3, rel=1e-10)


def test_joint_views_share_their_batch_norm_statistics():
    torch.manual_seed(1)
    apart = simclr(batch_norm=True)
    torch.manual_seed(1)
    joint = simclr(batch_norm=True, joint_views=True)
    a, b = torch.randn(6, 3, 16, 16).double(), torch.randn(6, 3, 16, 16).double() + 1
    together = apart.encode(torch.cat([a, b]))['image'].tolist()
    assert joint.loss([a, b])['image.loss'].item() == pytest.approx(nt_xent([together[:6], together[6:]]), rel=1e-10)
    separate = [apart.encode(view)['image'].tolist() for view in (a, b)]
    assert apart.loss([a, b])['image.loss'].item() == pytest.approx(nt_xent(separate), rel=1e-10)


def simclr(batch_norm: bool = False, online_views=(0, 1), target_views=(0, 1), **changes):
    return toy_siamese(
        backbone=ToyBackbone(batch_norm=batch_norm),
        branches=dict(image=dict(neck=dict(type='MLPNeck', out_channels=5), head=dict(type='InBatchHead', loss=LOSS))),
        target=dict(type='SharedTarget'),
        online_views=online_views,
        target_views=target_views,
        **changes,
    ).double()


def a_step(views: torch.Tensor, share: bool) -> tuple[float, list[torch.Tensor]]:
    """Loss and parameter gradients of this process's share of ``views``, gradients averaged by DDP."""
    torch.manual_seed(1)
    model = simclr()
    if share:
        model = DistributedDataParallel(model)
        views = [view.chunk(2)[get_rank()] for view in views]
    loss = model(list(views), None, mode='loss')['image.loss']
    loss.backward()
    return loss.item(), [p.grad.clone() for p in model.parameters()]


def test_two_processes_with_half_the_batch_have_the_loss_and_gradients_of_one(tmp_path):
    views = torch.randn(2, 8, 3, 16, 16).double()
    loss, gradients = a_step(views, share=False)
    ranks = in_processes(a_step, tmp_path, views, True)
    assert sum(each for each, _ in ranks) / 2 == pytest.approx(loss, rel=1e-10)
    assert ranks[0][0] != ranks[1][0]
    for _, found in ranks:
        assert all(torch.allclose(a, b, rtol=1e-9, atol=1e-12) for a, b in zip(found, gradients, strict=True))
    assert max(gradient.abs().max() for gradient in gradients) > 1e-3


class Seen(InfoNCELoss):
    def forward(self, positive, negatives):
        self.positive, self.negatives = positive, negatives
        return super().forward(positive, negatives)


def similarities_on_a_rank(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    head = InBatchHead(Seen(T))
    head.loss(a.chunk(2)[get_rank()], b.chunk(2)[get_rank()])
    return head.loss_module.negatives


def test_each_query_meets_every_other_embedding_of_all_processes_once(tmp_path):
    a, b = unit(6, 4), unit(6, 4)
    negatives = torch.cat(in_processes(similarities_on_a_rank, tmp_path, a, b))
    for i, row in enumerate(negatives):
        others = [a[i] @ z[k] for z in (a, b) for k in range(6) if k != i]
        finite = row[row.isfinite()]
        assert len(finite) == 2 * 6 - 2
        assert torch.allclose(finite.sort().values, torch.stack(others).sort().values)


@pytest.mark.parametrize('dtype', [torch.bfloat16, torch.float16])
def test_low_precision_embeddings_are_compared_in_float32(dtype):
    head = InBatchHead(Seen(T))
    a, b = unit(4, 8).to(dtype), unit(4, 8).to(dtype)
    expected = head.loss(a.float(), b.float())['loss']
    with torch.autocast('cpu', dtype=torch.bfloat16):
        loss = head.loss(a, b)['loss']
    assert loss.dtype == head.loss_module.negatives.dtype == torch.float32 and torch.equal(loss, expected)


def test_a_batch_of_one_image_has_no_negatives_and_a_finite_gradient():
    a = unit(1, 3).requires_grad_()
    loss = InBatchHead(LOSS).loss(a, unit(1, 3))['loss']
    loss.backward()
    assert loss == 0 and torch.equal(a.grad, torch.zeros(1, 3))


def test_views_of_different_images_are_refused_with_their_shapes():
    with pytest.raises(ValueError, match=r'two views of the same images.*\(4, 3\).*\(5, 3\)'):
        InBatchHead(LOSS).loss(unit(4, 3), unit(5, 3))
