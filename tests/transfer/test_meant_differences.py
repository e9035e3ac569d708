"""Networks that differ from the pre-trained one on purpose pass the check; the mistakes next to them do not."""

import pytest
import torch
from checkpoints import built, faster_rcnn, plain, pretrained, small_resnet
from mmengine.config import Config, ConfigDict
from mmengine.registry import MODELS, DefaultScope
from torch import nn

from viewplug.transfer.check import check_model, check_prefixes, origins_in
from viewplug.transfer.recorded import recorded_order


def swin(*num_heads: int, **changes) -> dict:
    arch = dict(embed_dims=12, depths=[1] * len(num_heads), num_heads=num_heads)
    return dict(type='mmpretrain.SwinTransformer', arch=arch, img_size=64, **changes)


def vit(num_heads: int = 2, **changes) -> dict:
    arch = dict(embed_dims=24, num_layers=2, num_heads=num_heads, feedforward_channels=48)
    return dict(type='mmpretrain.VisionTransformer', arch=arch, img_size=32, patch_size=8, **changes)


def run_of(backbone: dict, path, kind: str | None = None) -> dict:
    """Write a checkpoint of ``backbone``, whose type the config calls ``kind``; what reads it."""
    weights = built(ConfigDict(backbone), 'mmpretrain').state_dict()
    text = Config(dict(default_scope='mmpretrain', model=dict(backbone={**backbone, 'type': kind or backbone['type']})))
    state = {f'backbone.{name}': value for name, value in weights.items()}
    torch.save(dict(state_dict=state, meta=dict(cfg=text.pretty_text)), path)
    return plain(path)


def report_of(backbone: dict, extra: dict[str, nn.Module] | None = None, **options):
    model = nn.Module()
    model.backbone = built(ConfigDict(backbone), 'mmpretrain')
    for name, part in (extra or {}).items():
        model.backbone.add_module(name, part)
    (report,) = check_model(model, origins_in(model), **options)
    return report


def test_a_swin_without_its_last_stage_has_fewer_numbers_of_heads(tmp_path):
    init_cfg = run_of(swin(1, 2, 3, 6), tmp_path / 'v.pth')
    stages = swin(1, 2, 3, out_indices=(2,), init_cfg=init_cfg)
    assert not report_of(stages, allow_surplus=True, new=['norm2']).errors


@pytest.mark.parametrize(('num_heads', 'errors'), [(2, 0), (4, 1)])
def test_an_attention_that_is_new_has_heads_of_its_own(num_heads, errors, tmp_path):
    adapted = vit(num_heads, init_cfg=run_of(vit(), tmp_path / 'v.pth'))
    report = report_of(adapted, dict(adapter=nn.MultiheadAttention(24, 3)), new=['adapter'])
    assert len(report.errors) == errors
    assert not errors or 'num_heads=4, and the pre-trained network has 2' in report.errors[0]


def test_heads_are_compared_with_those_of_a_run_of_a_pure_python_config_too(tmp_path):
    init_cfg = run_of(vit(), tmp_path / 'v.pth', 'mmpretrain.models.VisionTransformer')
    assert not report_of(vit(init_cfg=init_cfg)).errors
    assert 'num_heads=4' in report_of(vit(4, init_cfg=init_cfg)).errors[0]


@pytest.mark.parametrize(('strides', 'warned'), [((2, 2, 2, 2), False), ((1, 2, 2, 2), True)])
def test_strides_that_a_run_leaves_out_are_those_of_its_kind_of_network(strides, warned, tmp_path):
    regnet = dict(type='mmpretrain.RegNet', arch='regnetx_400mf')
    init_cfg = run_of(regnet, tmp_path / 'v.pth')
    assert len(report_of(dict(regnet, strides=strides, init_cfg=init_cfg)).warnings) == warned


def test_a_file_of_torch_may_be_called_pkl(tmp_path):
    pretrained(tmp_path / 'v.pkl')
    with DefaultScope.overwrite_default_scope('mmdet'):
        detector = MODELS.build(faster_rcnn(small_resnet(init_cfg=plain(tmp_path / 'v.pkl'))))
    check_prefixes(detector)
    detector.backbone.init_weights()
    (report,) = check_model(detector, origins_in(detector))
    assert report.row[1:4] == ('backbone.', 120, 0) and not report.errors


@pytest.mark.parametrize(('style', 'errors'), [('caffe', 0), ('pytorch', 1)])
def test_a_file_without_a_config_is_of_caffes_style_where_its_name_says_so(style, errors, tmp_path):
    resnet = dict(type='mmpretrain.ResNet', depth=50, stem_channels=8, base_channels=8, style=style)
    state = {f'backbone.{name}': value for name, value in MODELS.build(resnet).state_dict().items()}
    torch.save(dict(state_dict=state), tmp_path / 'r50_caffe.pth')
    report = report_of(dict(resnet, init_cfg=plain(tmp_path / 'r50_caffe.pth')))
    assert len(report.errors) == errors
    assert not errors or "Set style='caffe' (model.backbone.style)" in report.errors[0]


def test_a_detectors_own_preprocessor_says_its_channel_order():
    data = dict(dataset=dict(type='CocoDataset', pipeline=[dict(type='LoadImageFromFile')]))
    for swap, order in ((True, 'RGB'), (False, 'BGR')):
        config = dict(model=dict(data_preprocessor=dict(bgr_to_rgb=swap, mean=[0.0])), train_dataloader=data)
        assert recorded_order(config) == order


def test_another_stem_and_half_a_layer_are_not_called_meant(tmp_path):
    another = 'Another depth, width or kind of network than the one that was pre-trained?'
    init_cfg = run_of(dict(type='mmpretrain.ResNet', depth=18, stem_channels=8, base_channels=8), tmp_path / 'v.pth')
    (error,) = report_of(dict(small_resnet(deep_stem=True), init_cfg=init_cfg)).errors
    assert error.endswith(another)
    init_cfg = run_of(vit(), tmp_path / 'v.pth')
    file = torch.load(tmp_path / 'v.pth', weights_only=False)
    del file['state_dict']['backbone.ln1.bias']
    torch.save(file, tmp_path / 'v.pth')
    assert report_of(vit(init_cfg=init_cfg)).errors[0].endswith(another)
