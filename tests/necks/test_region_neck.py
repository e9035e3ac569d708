"""RegionNeck: stages by stride, the paper's widths, and a pyramid that mmdet's FPN can load."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from toys import toy_resnet, toy_siamese

from viewplug.necks import RegionNeck
from viewplug.necks.region import PartialFPN, find_levels

CHANNELS, STRIDES = (8, 12, 16, 24), (4, 8, 16, 32)


def features(size: int = 64, number: int = 2, channels=CHANNELS) -> list[torch.Tensor]:
    return [torch.randn(number, c, size // s, size // s) for c, s in zip(channels, STRIDES, strict=True)]


def small_neck(**changes) -> RegionNeck:
    return RegionNeck(**{**dict(in_channels=CHANNELS, hidden_channels=6, out_channels=5, fpn_channels=8), **changes})


def test_one_stage_is_two_3x3_convolutions_with_batch_norm_and_relu_between():
    neck, maps = small_neck(), features()
    first, second = neck.projections[0]
    assert isinstance(first.bn, nn.BatchNorm2d) and first.conv.bias is None and second.conv.bias is not None
    between = F.relu(F.batch_norm(F.conv2d(maps[2], first.conv.weight, padding=1), None, None, training=True))
    expected = F.conv2d(between, second.conv.weight, second.conv.bias, padding=1)
    (tokens,) = neck(maps)
    assert tokens.shape == (2, 16, 5) and neck.out_channels == 5
    assert torch.allclose(tokens.transpose(1, 2).view(2, 5, 4, 4), expected, atol=1e-5)


def test_widths_are_table_7s():
    moco = RegionNeck()
    assert [layer.conv.weight.shape for layer in moco.projections[0]] == [(128, 1024, 3, 3), (128, 128, 3, 3)]
    simsiam = RegionNeck(('C3', 'C4'), (512, 1024), (512, 1024))
    shapes = [[tuple(layer.conv.weight.shape[:2]) for layer in projection] for projection in simsiam.projections]
    assert shapes == [[(512, 512), (512, 512)], [(1024, 1024), (1024, 1024)]]
    assert simsiam.out_channels == (512, 1024)


def test_levels_of_a_pyramid_are_those_of_mmdets_fpn_projected_one_after_the_other():
    fpn_class = pytest.importorskip('mmdet.models.necks').FPN
    neck, maps = small_neck(stages=('P3', 'P4')).eval(), features()
    stock = fpn_class(list(CHANNELS), 8, num_outs=4)
    missing, unexpected = stock.load_state_dict(neck.fpn.state_dict(), strict=False)
    assert not unexpected and missing
    p2, p3, p4, p5 = stock(maps)
    expected = [projection(x) for projection, x in zip(neck.projections, (p3, p4), strict=True)]
    (tokens,) = neck(maps)
    assert torch.allclose(tokens, torch.cat([x.flatten(2).transpose(1, 2) for x in expected], dim=1), atol=1e-6)


@pytest.mark.parametrize('norm', [None, dict(type='BN')])
@pytest.mark.parametrize('stages, levels', [(('P3', 'P4'), (1, 2)), (('P2',), (0,)), (('P4', 'P3', 'P5'), (1, 2, 3))])
def test_mmdets_fpn_loads_it_by_prefix_and_lacks_only_levels_never_pre_trained(tmp_path, norm, stages, levels):
    fpn_class = pytest.importorskip('mmdet.models.necks').FPN
    model = toy_siamese(
        backbone=toy_resnet(),
        branches=dict(
            region=dict(
                neck=dict(type='RegionNeck', stages=stages, out_channels=4, fpn_channels=8, fpn_norm_cfg=norm),
                head=dict(
                    type='RegionHead',
                    window=8,
                    stride=8,
                    input_size=64,
                    negative_kernel=1,
                    downsample=[2 ** int(stage[1:]) for stage in stages],
                ),
            )
        ),
    )
    trained = model.branches['region'].neck.fpn
    checkpoint = tmp_path / 'epoch_1.pth'
    torch.save(dict(state_dict=model.state_dict()), checkpoint)
    widths = (8, 16, 32, 64)
    pretrained = dict(type='Pretrained', checkpoint=str(checkpoint), prefix='branches.region.neck.fpn.')
    fpn = fpn_class(list(widths), 8, num_outs=5, norm_cfg=norm, init_cfg=pretrained)
    fpn.init_weights()
    own, loaded = trained.state_dict(), fpn.state_dict()
    assert own and all(torch.equal(loaded[key], value) for key, value in own.items())
    lacking = {key.rsplit('.', 2)[0] for key in set(loaded) - set(own)}
    expected = {f'lateral_convs.{i}' for i in range(min(levels))} | {f'fpn_convs.{i}' for i in {0, 1, 2, 3} - {*levels}}
    assert lacking == expected


def test_narrower_levels_end_in_zeros():
    (tokens,) = small_neck(stages=('P3', 'P4'), out_channels=(3, 5))(features())
    assert tokens.shape == (2, 64 + 16, 5)
    assert not tokens[:, :64, 3:].any() and tokens[:, :64, :3].any() and tokens[:, 64:].any()


@pytest.mark.parametrize('norm', [None, dict(type='BN', affine=False)])
def test_a_last_norm_layer_takes_the_place_of_the_bias(norm):
    last = small_neck(last_norm_cfg=norm).projections[0][1]
    assert last.with_norm == bool(norm) and (last.conv.bias is None) == bool(norm) and not last.with_activation


def test_stages_are_found_by_stride_in_any_backbone():
    assert find_levels(('C4',), (4, 8, 16, 32)) == ((2,), False)
    assert find_levels(('C4',), (16, 32)) == ((0,), False)
    assert find_levels(('C3', 'C2'), (1, 2, 4, 8)) == ((3, 2), False)
    assert find_levels((4,), (1, 2, 4, 4)) == ((2,), False)
    assert find_levels(('P3', 'P4'), (4, 8, 16, 32)) == ((1, 2), True)
    assert find_levels(['C4'], (16, None)) == ((0,), False)


@pytest.mark.parametrize(
    'backbone, channels',
    [
        (dict(type='mmpretrain.ResNet', depth=18, out_indices=(0, 1, 2, 3)), 256),
        (dict(type='mmpretrain.ConvNeXt', arch='atto', out_indices=(0, 1, 2, 3), gap_before_final_norm=False), 160),
        (dict(type='mmpretrain.TIMMBackbone', model_name='resnet10t', features_only=True), 256),
    ],
    ids=['resnet18', 'convnext', 'timm'],
)
def test_siamese_tells_it_the_channels_and_strides_of_its_backbone(backbone, channels):
    if backbone['type'].endswith('TIMMBackbone'):
        pytest.importorskip('timm')
    region = dict(neck=dict(type='RegionNeck'), head=dict(type='RegionHead', input_size=64, window=48))
    model = toy_siamese(backbone=backbone, branches=dict(region=region))
    assert model.branches['region'].neck.projections[0][0].conv.in_channels == channels
    assert model.branches['region'].head.feat_dim == 128
    assert model.encode(torch.randn(1, 3, 64, 64))['region'].shape == (1, 16, 128)


@pytest.mark.parametrize(
    'stages, strides, words',
    [
        (('C4',), (1, 2, 4, 8), r"asks for 'C4', stride 16, but the strides .* are \[1, 2, 4, 8\]"),
        ((16,), (1, 2, 4, 8), r'asks for 16, stride 16'),
        (('C4', 'P4'), STRIDES, 'all be C levels'),
        (('res4',), STRIDES, 'all be C levels'),
        (('C4', 16), STRIDES, 'names a level twice'),
    ],
)
def test_a_stage_that_there_is_not_is_refused_with_those_there_are(stages, strides, words):
    with pytest.raises(ValueError, match=words):
        small_neck(stages=stages, in_strides=strides)


def test_widths_and_maps_must_be_as_many_as_announced():
    with pytest.raises(ValueError, match='2 stages, but 3 widths'):
        small_neck(stages=('P3', 'P4'), out_channels=(1, 2, 3))
    with pytest.raises(ValueError, match='built for 4 maps.*gives 2'):
        small_neck()(features()[2:])


def test_a_pyramid_adds_what_is_coarser_also_where_sizes_are_odd():
    pyramid = PartialFPN((4, 4), (0,), 3)
    fine, coarse = torch.randn(1, 4, 7, 7), torch.randn(1, 4, 4, 4)
    lateral = pyramid.lateral_convs['0'](fine)
    above = F.interpolate(pyramid.lateral_convs['1'](coarse), size=(7, 7), mode='nearest')
    assert torch.equal(pyramid([fine, coarse])[0], pyramid.fpn_convs['0'](lateral + above))
