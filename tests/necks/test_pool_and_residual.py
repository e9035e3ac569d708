"""No projector, and a deep classifier's body."""

import torch
from toys import ToyBackbone, toy_siamese

from viewplug.necks import PoolNeck, ResidualNeck


def test_without_a_projector_the_embedding_is_h_of_unit_length():
    maps = [torch.randn(3, 4, 8, 8), torch.randn(3, 6, 2, 2)]
    (z,) = PoolNeck((4, 6))(maps)
    h = maps[-1].mean(dim=(2, 3))
    assert torch.allclose(z, h / h.norm(dim=1, keepdim=True), atol=1e-6) and PoolNeck((4, 6)).out_channels == 6
    assert torch.equal(PoolNeck(6, normalize=False)(maps)[0], h)
    assert not list(PoolNeck(6).parameters())


def test_siamese_fills_in_its_width():
    head = dict(type='InBatchHead', loss=dict(type='InfoNCELoss'))
    model = toy_siamese(
        backbone=ToyBackbone(channels=8),
        branches=dict(image=dict(neck=dict(type='PoolNeck'), head=head)),
        target=dict(type='SharedTarget'),
    )
    assert model.branches['image'].neck.out_channels == 8


def test_residual_blocks_learn_on_the_last_map_and_give_a_vector():
    neck = ResidualNeck(6, channels=5, num_blocks=2)
    maps = [torch.randn(3, 4, 8, 8), torch.randn(3, 6, 4, 4, requires_grad=True)]
    (vector,) = neck(maps)
    assert vector.shape == (3, 5) and neck.out_channels == 5 and len(neck.blocks) == 3
    vector.square().sum().backward()
    assert all(parameter.grad is not None for parameter in neck.parameters())
