"""One warning where a head that normalises nothing gets embeddings that nobody has normalised."""

import pytest
import torch
from torch.nn.functional import normalize
from toys import ToyBackbone, hcl_branch, mlp_branch, toy_resnet, toy_siamese, toy_views

from viewplug.heads import InBatchHead, QueueHead
from viewplug.heads.unit_length import UnitLengthCheck

LOSS = dict(type='InfoNCELoss')


@pytest.fixture
def said(monkeypatch) -> list[str]:
    found = []
    monkeypatch.setattr('viewplug.heads.unit_length.print_log', lambda text, *args, **kwargs: found.append(text))
    return found


def branch_of(head: str, **neck) -> dict:
    return dict(neck=dict(type='MLPNeck', out_channels=16) | neck, head=dict(type=head, loss=LOSS))


@pytest.mark.parametrize('head', ['QueueHead', 'InBatchHead'])
def test_embeddings_that_are_not_normalised_are_named_once_with_the_key_to_set(head, said):
    model = toy_siamese(branches=dict(fine=branch_of(head), wild=branch_of(head, normalize=False)))
    for _ in range(3):
        model.loss(toy_views())
    (warning,) = said
    assert f"{head} of branch 'wild': embeddings of length " in warning
    assert 'Set model.branches.wild.neck.normalize=True' in warning


@pytest.mark.parametrize(
    ('backbone', 'branch', 'size'), [(ToyBackbone(), mlp_branch(), 16), (toy_resnet(), hcl_branch(), 64)]
)
def test_unit_vectors_and_hcls_two_halves_pass(backbone, branch, size, said):
    toy_siamese(backbone=backbone, branches=dict(image=branch)).loss(toy_views(4, size))
    assert said == []


def test_a_loss_in_evaluation_mode_looks_at_nothing(said):
    model = toy_siamese(branches=dict(image=branch_of('QueueHead', normalize=False))).eval()
    model.loss(toy_views())
    assert said == []
    model.train().loss(toy_views())
    assert len(said) == 1


@pytest.mark.parametrize('dtype', [torch.float32, torch.bfloat16, torch.float16])
def test_rounding_is_no_matter_and_neither_are_rows_that_are_0(dtype, said):
    for dim in (2, 16, 2048):
        rows = normalize(torch.randn(64, dim), dim=1).to(dtype)
        rows[3] = 0
        UnitLengthCheck('QueueHead')(rows, normalize(torch.randn(8, dim), dim=1))
    assert said == []


@pytest.mark.parametrize(
    'rows', [torch.full((4, 64), 1.0), torch.eye(4) * 1.1, torch.eye(4) * torch.tensor([1, 2**0.5, 1, 1])]
)
def test_lengths_that_are_equal_but_not_1_or_of_two_kinds_are_warned_of(rows, said):
    UnitLengthCheck('InBatchHead')(rows)
    assert (
        len(said) == 1 and said[0].startswith('InBatchHead: embeddings of length ') and 'Set neck.normalize' in said[0]
    )


def test_a_head_alone_warns_too(said):
    for head in (QueueHead(LOSS, queue_len=8, feat_dim=4), InBatchHead(LOSS)):
        for _ in range(2):
            head.loss(torch.randn(5, 4), torch.randn(5, 4))
    assert len(said) == 2
