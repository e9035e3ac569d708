"""HCLNeck against HCL, sections 3.3 and 4.3.2, written out."""

import pytest
import torch
from mmpretrain.registry import MODELS as STOCK
from torch.nn import functional as F
from toys import hcl_branch, total, toy_resnet, toy_siamese, toy_views

from viewplug.backbones import backbone_layout
from viewplug.necks import HCLNeck
from viewplug.necks.hcl import SpatialPyramid

CHANNELS, STRIDES = (8, 12, 16, 24), (4, 8, 16, 32)


def maps(size: int = 64, number: int = 3, channels=CHANNELS) -> list[torch.Tensor]:
    return [torch.randn(number, c, size // s, size // s) for c, s in zip(channels, STRIDES, strict=True)]


def small_neck(**changes) -> HCLNeck:
    arguments = dict(in_channels=CHANNELS, semantic_channels=10, input_size=64, lateral_channels=6)
    return HCLNeck(**{**arguments, **changes})


def test_each_half_has_unit_length():
    (embedding,) = small_neck()(maps())
    assert embedding.shape == (3, 10 + 4 * 4)
    assert torch.allclose(embedding[:, :10].norm(dim=1), torch.ones(3))
    assert torch.allclose(embedding[:, 10:].norm(dim=1), torch.ones(3))


def test_the_dot_product_is_the_sum_of_two_cosines():
    neck = small_neck()
    a, b = maps(), maps()
    (za,), (zb,) = neck(a), neck(b)
    semantic = F.cosine_similarity(neck.semantic.mlp(a[-1].mean((2, 3))), neck.semantic.mlp(b[-1].mean((2, 3))))
    spatial = F.cosine_similarity(neck.spatial(a).flatten(1), neck.spatial(b).flatten(1))
    assert torch.allclose((za * zb).sum(1), semantic + spatial, atol=1e-6)
    assert torch.allclose((za * za).sum(1), torch.full((3,), 2.0), atol=1e-6)


def test_the_semantic_half_is_mocos_embedding():
    neck, features = small_neck(), maps()
    assert torch.equal(neck(features)[0][:, :10], neck.semantic(features)[0])


def pyramid_at_stride_16(pyramid: SpatialPyramid, features) -> torch.Tensor:
    """The paper's pyramid: every path is brought to C4's resolution, lateral convolutions first."""
    c2, c3, c4, c5 = (lateral(feature) for lateral, feature in zip(pyramid.laterals, features, strict=True))
    p2, p3 = F.avg_pool2d(c2, 4), F.avg_pool2d(c3, 2)
    p5 = c5.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)
    return pyramid.readout(pyramid.smooth(((p5 + c4) + p3) + p2))


def vanilla_pyramid(pyramid: SpatialPyramid, features) -> torch.Tensor:
    """FPN, top-down one level at a time to C2's resolution, then down-sampled to C4's."""
    c2, c3, c4, c5 = (lateral(feature) for lateral, feature in zip(pyramid.laterals, features, strict=True))
    top = c5
    for lateral in (c4, c3, c2):
        top = lateral + F.interpolate(top, scale_factor=2, mode='nearest')
    return F.avg_pool2d(pyramid.readout(pyramid.smooth(top)), 4)


@pytest.mark.parametrize(
    ('fusion', 'by_hand'), [(None, pyramid_at_stride_16), (16, pyramid_at_stride_16), (4, vanilla_pyramid)]
)
@pytest.mark.parametrize('size', [64, 96, 224])
def test_the_spatial_map_is_the_obvious_pyramids(fusion, by_hand, size):
    pyramid = SpatialPyramid(CHANNELS, STRIDES, map_stride=16, fusion_stride=fusion, lateral_channels=6).double()
    for lateral in pyramid.laterals:
        torch.nn.init.normal_(lateral.bias)  # zero at the start, and then it would hide mistakes at the border
    features = [feature.double().requires_grad_() for feature in maps(size)]
    found, expected = pyramid(features), by_hand(pyramid, features)
    assert found.shape == (3, 1, size // 16, size // 16)
    assert torch.allclose(found, expected, atol=1e-12)
    learned = [*features, *pyramid.parameters()]
    for mine, slow in zip(*(torch.autograd.grad(y.pow(3).sum(), learned) for y in (found, expected)), strict=True):
        assert torch.allclose(mine, slow, atol=1e-10 * slow.abs().max())


def test_every_level_reaches_the_spatial_half():
    features = [feature.requires_grad_() for feature in maps()]
    small_neck()(features)[0][:, 10:].pow(3).sum().backward()
    assert all(feature.grad.abs().sum() > 0 for feature in features)


def test_resnet50_at_224_pixels_gives_324_numbers():
    backbone = STOCK.build(dict(type='mmpretrain.ResNet', depth=50, out_indices=(0, 1, 2, 3))).to('meta')
    neck = HCLNeck().to('meta')
    assert neck.out_channels == 324
    assert neck(backbone(torch.empty(2, 3, 224, 224, device='meta')))[0].shape == (2, 324)


@pytest.mark.parametrize('size', [96, 100, 128, 160])
def test_the_length_follows_the_input_size(size):
    model = toy_siamese(backbone=toy_resnet(), branches=dict(image=hcl_branch(input_size=size)))
    embedding = model.encode(torch.randn(2, 3, size, size))['image']
    assert embedding.shape == (2, model.branches.image.neck.out_channels)
    assert model.branches.image.neck.out_channels == 16 + {96: 6, 100: 7, 128: 8, 160: 10}[size] ** 2


BACKBONES = {
    'ResNet-18': (dict(type='mmpretrain.ResNet', depth=18, out_indices=(0, 1, 2, 3)), (64, 128, 256, 512)),
    'RegNet': (dict(type='mmpretrain.RegNet', arch='regnetx_400mf', out_indices=(0, 1, 2, 3)), (32, 64, 160, 384)),
    'ConvNeXt': (
        dict(type='mmpretrain.ConvNeXt', arch='atto', out_indices=(0, 1, 2, 3), gap_before_final_norm=False),
        (40, 80, 160, 320),
    ),
    'timm': (
        dict(
            type='mmpretrain.TIMMBackbone',
            model_name='resnet18',
            features_only=True,
            pretrained=False,
            out_indices=(1, 2, 3, 4),
        ),
        (64, 128, 256, 512),
    ),
}


@pytest.mark.parametrize('name', BACKBONES)
def test_channels_and_strides_are_read_off_any_backbone_and_every_weight_learns(name):
    backbone, channels = BACKBONES[name]
    model = toy_siamese(backbone=backbone, branches=dict(image=hcl_branch()))
    assert backbone_layout(model.backbone) == (channels, STRIDES)
    assert [lateral.in_channels for lateral in model.branches.image.neck.spatial.laterals] == list(channels)
    loss = total(model.loss(toy_views(4, 64)))
    loss.backward()
    assert torch.isfinite(loss)
    gradients = {key: p.grad for key, p in model.named_parameters() if p.requires_grad}
    assert [key for key, grad in gradients.items() if grad is None] == []
    assert all(torch.isfinite(grad).all() for grad in gradients.values())
    assert sum(float(grad.abs().sum()) for key, grad in gradients.items() if key.startswith('backbone.')) > 0


def test_reading_the_layout_changes_nothing_in_the_backbone():
    backbone = STOCK.build(toy_resnet(frozen_stages=1))
    backbone.train()
    before = {key: value.clone() for key, value in backbone.state_dict().items()}
    modes = [module.training for module in backbone.modules()]
    assert len(set(modes)) == 2
    assert backbone_layout(backbone) == ((8, 16, 32, 64), STRIDES)
    assert all(torch.equal(before[key], value) for key, value in backbone.state_dict().items())
    assert [module.training for module in backbone.modules()] == modes


def test_inside_a_model_under_bf16_autocast_the_embedding_is_float32_with_unit_halves():
    with torch.autocast('cpu', dtype=torch.bfloat16):
        (embedding,) = small_neck()(maps())
    assert embedding.dtype == torch.float32
    assert torch.allclose(embedding[:, 10:].norm(dim=1), torch.ones(3), atol=1e-6)


def test_views_of_another_size_are_refused_with_the_key_to_set():
    with pytest.raises(ValueError, match=r'input_size=64 means a 4 x 4 map.*give 6 x 6.*input_size'):
        small_neck()(maps(96))


@pytest.mark.parametrize('name', ['map_stride', 'fusion_stride'])
def test_a_stride_that_the_backbone_lacks_is_refused_by_name(name):
    with pytest.raises(ValueError, match=rf'{name}=64 is not among the strides \[4, 8, 16, 32\]'):
        small_neck(**{name: 64})


def test_a_backbone_without_maps_is_told_apart_from_one_without_a_stride():
    with pytest.raises(ValueError, match='HCLNeck reads maps .*this backbone gives none.*ViT with a class token'):
        small_neck(in_channels=(16,), in_strides=(None,))


def test_fusing_coarser_than_the_map_is_refused():
    with pytest.raises(ValueError, match='fusion_stride=32 is coarser than map_stride=16'):
        small_neck(fusion_stride=32)


def test_as_many_strides_as_channels_are_needed():
    with pytest.raises(ValueError, match='4 in_channels, but 3 in_strides'):
        small_neck(in_strides=(8, 16, 32))


def test_maps_of_another_backbone_are_refused_with_the_keys_to_set():
    with pytest.raises(ValueError, match=rf'\(in_channels\), the backbone gives \[{CHANNELS[-1]}\].*out_indices'):
        small_neck()(maps()[-1:])
    with pytest.raises(ValueError, match=r'reads maps of \[4, .*, the backbone gives \[.* in_channels to theirs'):
        small_neck(in_channels=(4, *CHANNELS[1:]))(maps())


def test_a_backbone_that_gives_its_last_map_only_is_refused_with_the_key_to_set():
    with pytest.raises(ValueError, match='stride'):
        toy_siamese(backbone=toy_resnet() | dict(out_indices=(3,)), branches=dict(image=hcl_branch()))
