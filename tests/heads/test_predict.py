"""PredictHead: predictor on one side, stop-gradient on the other; SimSiam's algorithm 1 through Siamese."""

import pytest
import torch
from mmpretrain.models.heads import LatentPredictHead
from torch import nn
from toys import ToyBackbone, toy_siamese

from viewplug.heads import PredictHead

PREDICTOR = dict(type='MLPNeck', hidden_channels=4, normalize=False)


def negative_cosine(p: torch.Tensor, z: torch.Tensor) -> torch.Tensor:
    """D of SimSiam's algorithm 1: both sides normalised, minus the dot product, averaged over the batch."""
    rows = [-(a / a.pow(2).sum().sqrt()) @ (b / b.pow(2).sum().sqrt()) for a, b in zip(p, z, strict=True)]
    return torch.stack(rows).mean()


def test_the_online_side_is_predicted_and_the_target_side_gets_no_gradient():
    head = PredictHead(PREDICTOR, feat_dim=6)
    online, target = torch.randn(5, 6, requires_grad=True), torch.randn(5, 6, requires_grad=True)
    loss = head.loss(online, target)['loss']
    assert loss.item() == pytest.approx(negative_cosine(head.predictor(online)[0], target).item(), abs=1e-6)
    loss.backward()
    assert target.grad is None
    assert online.grad.abs().max() > 0 and all(p.grad is not None for p in head.predictor.parameters())


@pytest.mark.parametrize('target', ['StopGradTarget', 'SharedTarget'])
def test_siamese_makes_it_simsiams_algorithm_1(target):
    torch.manual_seed(1)
    model = toy_siamese(
        backbone=ToyBackbone(batch_norm=True),
        branches=dict(
            image=dict(
                neck=dict(type='MLPNeck', out_channels=6, normalize=False),
                head=dict(type='PredictHead', predictor=PREDICTOR),
            )
        ),
        target=dict(type=target),
        online_views=(0, 1),
        target_views=(0, 1),
    ).double()
    views = [torch.randn(4, 3, 16, 16).double() for _ in range(2)]
    found = model.loss(views)['image.loss']
    found_gradients = torch.autograd.grad(found, list(model.parameters()))

    z1, z2 = (model.encode(view)['image'] for view in views)
    p1, p2 = (model.branches.image.head.predictor(z)[0] for z in (z1, z2))
    expected = negative_cosine(p1, z2.detach()) / 2 + negative_cosine(p2, z1.detach()) / 2
    assert found.item() == pytest.approx(expected.item(), abs=1e-12)
    for a, b in zip(found_gradients, torch.autograd.grad(expected, list(model.parameters())), strict=True):
        assert torch.allclose(a, b, rtol=1e-9, atol=1e-12)


def test_the_predictor_is_the_heads_and_no_momentum_target_has_one():
    head = dict(type='PredictHead', predictor=PREDICTOR)
    model = toy_siamese(
        branches=dict(image=dict(neck=dict(type='MLPNeck', out_channels=6, normalize=False), head=head))
    )
    names = [name for name, _ in model.named_parameters() if 'predictor' in name]
    assert len(names) == 4 and all(name.startswith('branches.image.head.predictor.mlp.') for name in names)


def test_its_widths_are_the_necks_unless_given():
    head = PredictHead(PREDICTOR, feat_dim=6)
    assert [tuple(p.shape) for p in head.predictor.parameters()] == [(4, 6), (4,), (6, 4), (6,)]
    assert PredictHead(dict(PREDICTOR, in_channels=6, out_channels=6)).feat_dim is None


def test_mmpretrains_predictor_and_head_give_the_same_loss():
    neck = dict(
        type='mmpretrain.NonLinearNeck',
        in_channels=6,
        hid_channels=4,
        out_channels=6,
        with_last_bn=False,
        with_avg_pool=False,
        norm_cfg=dict(type='BN1d'),
    )
    head = PredictHead(neck, feat_dim=6)
    stock = LatentPredictHead(dict(type='CosineSimilarityLoss'), neck)
    stock.predictor.load_state_dict(head.predictor.state_dict())
    online, target = torch.randn(5, 6), torch.randn(5, 6)
    assert torch.allclose(head.loss(online, target)['loss'], stock.loss(online, target))


def test_a_predictor_may_be_a_module_of_ones_own():
    head = PredictHead(Last(), loss=nn.MSELoss())
    online = torch.randn(5, 6)
    assert head.loss(online, online)['loss'] == 0


class Last(nn.Module):
    def forward(self, features):
        return features[-1]


def test_under_autocast_the_loss_is_float32():
    head = PredictHead(PREDICTOR, feat_dim=6)
    online, target = torch.randn(5, 6), torch.randn(5, 6)
    with torch.autocast('cpu', dtype=torch.bfloat16):
        loss = head.loss(online.bfloat16(), target.bfloat16())['loss']
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(head.loss(online, target)['loss'].item(), abs=2e-2)


def test_another_width_is_refused_by_name():
    with pytest.raises(ValueError, match=r'predictor\.out_channels=5.*length 6.*set it to 6'):
        PredictHead(dict(PREDICTOR, out_channels=5), feat_dim=6)


def test_an_unknown_width_is_asked_for():
    with pytest.raises(ValueError, match=r'needs feat_dim.*or predictor\.in_channels'):
        PredictHead(PREDICTOR)
