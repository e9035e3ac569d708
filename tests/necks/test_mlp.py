"""MLPNeck: pooling, layers, unit length."""

import pytest
import torch
from mmpretrain.models.necks import NonLinearNeck
from torch import nn

from viewplug.necks import MLPNeck


def maps() -> tuple[torch.Tensor, torch.Tensor]:
    return torch.randn(3, 8, 6, 6), torch.randn(3, 16, 3, 3)


def test_embeddings_have_unit_length():
    (embedding,) = MLPNeck(in_channels=16, out_channels=5)(maps())
    assert embedding.shape == (3, 5)
    assert torch.allclose(embedding.norm(dim=1), torch.ones(3))


@pytest.mark.parametrize('layers', [1, 2, 3])
def test_it_is_average_pooling_then_linear_layers_with_relu_between(layers):
    neck = MLPNeck(in_channels=(8, 16), hidden_channels=7, out_channels=5, num_layers=layers, normalize=False)
    features = maps()
    x = torch.stack([torch.stack([channel.mean() for channel in image]) for image in features[-1]])
    linears = [layer for layer in neck.mlp if isinstance(layer, nn.Linear)]
    assert len(linears) == layers
    for number, linear in enumerate(linears):
        x = x @ linear.weight.t() + linear.bias
        x = x.clamp_min(0) if number < layers - 1 else x
    assert torch.allclose(neck(features)[0], x, atol=1e-6)


def test_a_vector_and_a_lone_map_are_read_too():
    neck, last = MLPNeck(in_channels=16), maps()[-1]
    assert torch.allclose(neck(last)[0], neck((last.mean(dim=(2, 3)),))[0], atol=1e-6)


def test_moco_v1_is_one_layer_and_v2_is_two_with_the_width_of_the_last_map():
    assert [tuple(p.shape) for p in MLPNeck(16, num_layers=1).parameters()] == [(128, 16), (128,)]
    assert [tuple(p.shape) for p in MLPNeck(16).parameters()] == [(16, 16), (16,), (128, 16), (128,)]


BN = dict(type='BN')
STOCK = {
    'SimCLR': (
        dict(num_layers=2, norm_cfg=BN, last_norm_cfg=BN, bias=False, last_bias=False),
        dict(),
    ),
    'BYOL': (
        dict(num_layers=2, norm_cfg=BN, last_bias=False),
        dict(with_bias=True, with_last_bn=False),
    ),
    'SimSiam projector': (
        dict(num_layers=3, norm_cfg=BN, last_norm_cfg=dict(type='BN', affine=False), bias=False, last_bias=False),
        dict(num_layers=3, with_last_bn_affine=False),
    ),
    'SimSiam predictor': (
        dict(num_layers=2, norm_cfg=BN, bias=False),
        dict(with_last_bn=False, with_last_bias=True),
    ),
}


@pytest.mark.parametrize('method', STOCK)
def test_with_batch_norm_it_is_mmpretrains_projector_of_the_method(method):
    ours, theirs = STOCK[method]
    neck = MLPNeck(in_channels=16, hidden_channels=7, out_channels=5, normalize=False, **ours)
    stock = NonLinearNeck(in_channels=16, hid_channels=7, out_channels=5, norm_cfg=dict(type='BN1d'), **theirs)
    for p in neck.parameters():
        nn.init.normal_(p)  # batch norm's weights, too
    stock.load_state_dict(dict(zip(stock.state_dict(), neck.state_dict().values(), strict=True)))
    last = torch.randn(6, 16, 3, 3)
    assert torch.allclose(neck((last,))[0], stock((last,))[0], atol=1e-5)
    neck.eval(), stock.eval()  # now with the running statistics of that batch
    assert torch.allclose(neck((last,))[0], stock((last,))[0], atol=1e-5)


def test_the_norm_after_the_last_layer_comes_before_unit_length():
    neck = MLPNeck(in_channels=16, out_channels=5, last_norm_cfg=dict(type='BN', affine=False))
    raw = neck.mlp[:-1](torch.randn(6, 16).clone())
    centred = (raw - raw.mean(0)) / (raw.var(0, unbiased=False) + 1e-5).sqrt()
    assert torch.allclose(nn.functional.normalize(neck.mlp[-1](raw), dim=1), nn.functional.normalize(centred, dim=1))
    vectors = torch.randn(6, 16)
    assert torch.allclose(neck(vectors)[0], nn.functional.normalize(neck.mlp(vectors), dim=1))


def test_any_norm_of_mmcv_is_taken():
    (embedding,) = MLPNeck(16, hidden_channels=8, norm_cfg=dict(type='GN', num_groups=2))(maps())
    assert embedding.shape == (3, 128)


def test_under_autocast_embeddings_are_normalised_in_float32():
    with torch.autocast('cpu', dtype=torch.bfloat16):
        (embedding,) = MLPNeck(16)(maps())
    assert embedding.dtype == torch.float32
    assert torch.allclose(embedding.norm(dim=1), torch.ones(3), atol=1e-6)


def test_no_layers_are_refused_by_name():
    with pytest.raises(ValueError, match='num_layers must be at least 1, got 0'):
        MLPNeck(16, num_layers=0)
