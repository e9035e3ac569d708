"""DINO's projection: shape, normalisation, start, and what of it learns."""

import copy

import pytest
import torch
from torch.nn import functional as F

from viewplug.necks import DINONeck


def small(**changes) -> DINONeck:
    return DINONeck(**{**dict(in_channels=12, out_channels=40, hidden_channels=16, bottleneck_channels=8), **changes})


def test_logits_are_those_of_the_papers_layers_written_out():
    neck, x = small(), torch.randn(5, 12)
    first, _, second, _, third = neck.mlp
    hidden = F.gelu(second(F.gelu(first(x))))
    bottleneck = F.normalize(third(hidden), dim=1)
    prototypes = neck.last_layer.parametrizations.weight.original1
    torch.testing.assert_close(neck(x)[0], bottleneck @ F.normalize(prototypes, dim=1).t())


def test_vectors_maps_and_the_cls_of_a_mapping_are_read():
    neck = small()
    vectors, maps = torch.randn(3, 12), torch.randn(3, 12, 4, 4)
    torch.testing.assert_close(neck((torch.randn(3, 5, 8, 8), maps))[0], neck(maps.mean(dim=(2, 3)))[0])
    assert neck(vectors)[0].shape == (3, 40)
    torch.testing.assert_close(neck(dict(cls=vectors, patch=maps))[0], neck(vectors)[0])
    assert neck.watched(maps).shape == (3, 12)


def test_it_starts_as_dinos_with_small_weights_and_unit_gain():
    torch.manual_seed(0)
    neck = DINONeck(in_channels=64, out_channels=10, hidden_channels=512)
    weight = neck.mlp[2].weight
    assert weight.std().item() == pytest.approx(0.02, rel=0.02) and neck.mlp[2].bias.abs().max() == 0
    assert (neck.last_layer.parametrizations.weight.original0 == 1).all()


@pytest.mark.parametrize('fixed', [True, False])
def test_the_last_gain_learns_unless_it_is_fixed(fixed):
    neck = small(norm_last_layer=fixed)
    learning = {name for name, p in neck.named_parameters() if p.requires_grad}
    gain = 'last_layer.parametrizations.weight.original0'
    assert (gain not in learning) == fixed
    neck(torch.randn(4, 12))[0].square().sum().backward()
    assert all(p.grad.abs().sum() > 0 for p in neck.parameters() if p.requires_grad)


def test_batch_norm_stands_behind_each_hidden_layer():
    kinds = [type(layer).__name__ for layer in small(norm_cfg=dict(type='BN')).mlp]
    assert kinds == ['Linear', 'BatchNorm1d', 'GELU', 'Linear', 'BatchNorm1d', 'GELU', 'Linear']


@pytest.mark.parametrize(('norm', 'apart'), [(None, True), ('BN', False), ('SyncBN', False), ('LN', True)])
def test_rows_are_apart_without_batch_statistics(norm, apart):
    neck = DINONeck(4, 6, 8, 5, norm_cfg=norm and dict(type=norm))
    assert neck.rows_apart is apart
    if norm != 'SyncBN':
        rows = torch.randn(6, 4)
        together = neck(rows)[0]
        separate = torch.cat([neck(part)[0] for part in rows.split(3)])
        assert torch.allclose(together, separate, atol=1e-6) is apart


def test_a_copy_gives_the_same_and_learns_apart():
    neck, x = small(), torch.randn(4, 12)
    twin = copy.deepcopy(neck)
    torch.testing.assert_close(twin(x)[0], neck(x)[0])
    with torch.no_grad():
        twin.last_layer.parametrizations.weight.original1.normal_()
    assert not torch.allclose(twin(x)[0], neck(x)[0])


def test_under_bf16_the_bottleneck_is_normalised_in_float32():
    neck, x = small(), torch.randn(4, 12)
    with torch.autocast('cpu', dtype=torch.bfloat16):
        logits = neck(x)[0]
    torch.testing.assert_close(logits.float(), neck(x)[0], atol=0.02, rtol=0.05)


def test_no_layer_at_all_is_refused():
    with pytest.raises(ValueError, match='DINONeck: num_layers must be at least 1, got 0'):
        small(num_layers=0)
