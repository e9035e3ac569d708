"""Export to timm and torchvision: the line that is printed loads the file, or nothing is written."""

import importlib.util
import re
import sys
from pathlib import Path

import pytest
import timm
import torch
from export_runs import ATTO, VIT, loaded, run
from mmengine.logging import MMLogger
from toys import ToyBackbone

from viewplug.transfer.export import export

ROOT = Path(__file__).resolve().parents[2]
R18D = dict(type='mmpretrain.TIMMBackbone', model_name='resnet18d', features_only=True, out_indices=(1, 2, 3, 4))


@pytest.fixture(scope='module', autouse=True)
def logger():
    """Made here, for one made within a test would keep that test's captured stderr."""
    return MMLogger.get_current_instance()


def tool(monkeypatch, *args) -> int:
    spec = importlib.util.spec_from_file_location('export', ROOT / 'tools/export.py')
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(sys, 'argv', ['export.py', *map(str, args)])
    return module.main()


@torch.no_grad()
def test_a_features_only_convnext_gives_the_same_features_in_the_whole_model(tmp_path, monkeypatch, capsys):
    model = run(tmp_path, ATTO)
    assert tool(monkeypatch, tmp_path / 'run.pth', tmp_path / 'out.pth', '--format', 'timm') == 0
    load = re.search('load: (.*)', capsys.readouterr().out)[1]
    assert "timm.create_model('convnext_atto', num_classes=0)" in load
    assert 'head.norm.weight, head.norm.bias not in the file: use model.forward_features' in load
    assert f'names and shapes verified with timm {timm.__version__}' in load
    names = set(torch.load(tmp_path / 'out.pth'))
    assert {'stem.0.weight', 'stages.3.blocks.1.mlp.fc2.bias'} < names
    images = torch.randn(2, 3, 32, 32)
    assert torch.equal(loaded(load).forward_features(images), model(images)[-1])


@torch.no_grad()
@pytest.mark.parametrize(
    ('backbone', 'call'),
    [
        (dict(ATTO, out_indices=(0, 1)), "'convnext_atto', features_only=True, out_indices=(0, 1)"),
        (dict(ATTO, model_name='mobilenetv3_small_050'), "'mobilenetv3_small_050', features_only=True"),
        (
            dict(ATTO, model_name='vit_tiny_patch16_224', img_size=32, depth=4),
            "'vit_tiny_patch16_224', depth=4, img_size=32, features_only=True",
        ),
    ],
)
def test_a_features_only_model_stays_one_where_the_whole_has_more_layers(backbone, call, tmp_path):
    model = run(tmp_path, backbone)
    load = export(tmp_path / 'run.pth', tmp_path / 'out.pth', 'timm')['load']
    assert f'timm.create_model({call})' in load and 'strict' not in load
    images = torch.randn(2, 3, 32, 32)
    for mine, theirs in zip(model(images), loaded(load)(images), strict=True):
        assert torch.equal(mine, theirs)


@torch.no_grad()
@pytest.mark.parametrize(
    ('backbone', 'line'),
    [
        (dict(ATTO, features_only=False), "('convnext_atto', num_classes=0, global_pool='')"),
        (VIT, "('vit_tiny_patch16_224', depth=2, img_size=32, num_classes=0, global_pool='')"),
        (
            dict(VIT, class_token=False, global_pool='avg'),
            "('vit_tiny_patch16_224', class_token=False, depth=2, img_size=32, num_classes=0, global_pool='avg'); "
            "model.reset_classifier(0, '')",
        ),
    ],
)
def test_the_printed_line_runs_what_mmpretrains_wrapper_ran(backbone, line, tmp_path):
    model = run(tmp_path, backbone)
    load = export(tmp_path / 'run.pth', tmp_path / 'out.pth', 'timm')['load']
    assert f'timm.create_model{line}; model.load' in load
    images = torch.randn(2, 3, 32, 32)
    assert torch.equal(loaded(load)(images), model(images)[-1])


@torch.no_grad()
def test_a_deep_stem_goes_to_timm_and_is_refused_for_torchvision_with_its_keys(tmp_path, monkeypatch, capsys):
    model = run(tmp_path, R18D)
    assert tool(monkeypatch, tmp_path / 'run.pth', tmp_path / 'no.pth', '--format', 'torchvision') == 2
    error = capsys.readouterr().err
    assert 'format torchvision: torchvision.models.resnet18() does not fit (conv1.weight is missing' in error
    assert "take timm (timm.create_model('resnet18d', num_classes=0)) or safetensors" in error
    assert 'mmdet' not in error and error.count('\n') == 1
    assert [path.name for path in tmp_path.iterdir()] == ['run.pth']
    load = export(tmp_path / 'run.pth', tmp_path / 'out.pth', 'timm')['load']
    images = torch.randn(2, 3, 64, 64)
    assert torch.equal(loaded(load).forward_features(images), model(images)[-1])


@pytest.mark.parametrize(('format', 'ending'), [('mmdet', 'pth'), ('detectron2', 'pkl')])
def test_a_deep_stem_of_timm_is_refused_where_it_has_no_name(format, ending, tmp_path, monkeypatch, capsys):
    run(tmp_path, R18D)
    assert tool(monkeypatch, tmp_path / 'run.pth', tmp_path / f'no.{ending}', '--format', format) == 2
    assert "has no name for timm's deep stem (" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ['run.pth']


@pytest.mark.parametrize('format', ['timm', 'torchvision'])
def test_a_network_of_ones_own_is_refused_and_nothing_is_written(format, tmp_path, monkeypatch, capsys):
    run(tmp_path, dict(type='ToyBackbone', channels=8), ToyBackbone())
    assert tool(monkeypatch, tmp_path / 'run.pth', tmp_path / 'no.pth', '--format', format) == 2
    error = capsys.readouterr().err
    if format == 'timm':
        assert 'no model of timm is known for the ToyBackbone (layers.0.weight, ' in error
    assert 'take mmdet' in error and 'safetensors' in error and error.count('\n') == 1
    assert [path.name for path in tmp_path.iterdir()] == ['run.pth']


@torch.no_grad()
@pytest.mark.parametrize('format', ['timm', 'torchvision'])
def test_the_printed_line_loads_a_resnet_of_mmpretrain(format, tmp_path):
    model = run(tmp_path, dict(type='mmpretrain.ResNet', depth=50))
    load = export(tmp_path / 'run.pth', tmp_path / 'out.pth', format)['load']
    images = torch.randn(1, 3, 64, 64)
    wanted = model(images)[-1].mean((2, 3))
    assert torch.allclose(loaded(load)(images), wanted, rtol=1e-4)


@torch.no_grad()
@pytest.mark.parametrize(
    ('backbone', 'call'),
    [
        (
            dict(type='viewplug.QueryViT', model_name='vit_tiny_patch16_224', img_size=32, depth=2, mask_token=True),
            "'vit_tiny_patch16_224', depth=2, img_size=32, num_classes=0",
        ),
        (
            dict(
                type='mmpretrain.VisionTransformer',
                arch=dict(embed_dims=24, num_layers=2, num_heads=3, feedforward_channels=48),
                img_size=32,
                patch_size=8,
                out_type='raw',
            ),
            "'vit_base_patch16_224', patch_size=8, embed_dim=24, depth=2, mlp_ratio=2.0, img_size=32, num_heads=3, "
            'num_classes=0',
        ),
    ],
)
def test_the_printed_line_loads_a_vit_with_its_heads(backbone, call, tmp_path):
    model = run(tmp_path, backbone)
    load = export(tmp_path / 'run.pth', tmp_path / 'out.pth', 'timm')['load']
    assert f'timm.create_model({call})' in load and 'num_heads is not' not in load
    images = torch.randn(2, 3, 32, 32)
    mine = model(images)
    mine = torch.cat([mine['cls'][:, None], mine['patch']], dim=1) if isinstance(mine, dict) else mine[0]
    assert torch.allclose(loaded(load).forward_features(images), mine, atol=1e-5)


def test_a_vit_without_a_config_leaves_the_number_of_heads_to_its_user(tmp_path):
    model = timm.create_model('vit_tiny_patch16_224', img_size=32, class_token=False, global_pool='', num_classes=0)
    torch.save(model.state_dict(), tmp_path / 'vit.pth')
    load = export(tmp_path / 'vit.pth', tmp_path / 'out.pth', 'timm')['load']
    assert "('vit_tiny_patch16_224', class_token=False, global_pool='', img_size=32, num_classes=0)" in load
    assert 'num_heads is not in the file: make it that of the pre-training' in load
    loaded(load)


@pytest.mark.parametrize(
    ('backbone', 'model', 'sentence'),
    [
        (
            dict(type='mmpretrain.TIMMBackbone', model_name='resnetblur50'),
            'resnetblur50',
            r"resnet50\(\) does not fit \(timm\.create_model\('resnetblur50', .* computes something else\)",
        ),
        (
            dict(type='mmpretrain.ResNet', depth=50, style='caffe'),
            'resnet50',
            'the weights would load and the features',
        ),
        (dict(type='MyResNet'), 'resnet26', r'no model of torchvision is known for the MyResNet \(conv1\.weight, '),
    ],
)
def test_equal_names_of_another_network_are_refused(backbone, model, sentence, tmp_path):
    run(tmp_path, backbone, timm.create_model(model, num_classes=0))
    with pytest.raises(ValueError, match=sentence):
        export(tmp_path / 'run.pth', tmp_path / 'out.pth', 'torchvision')


@pytest.mark.parametrize('name', ['hf-hub:timm/convnext_atto.d2_in1k', 'local-dir:/tmp/x', 'no_such_model'])
def test_a_name_that_would_be_fetched_or_is_unknown_builds_nothing(name, tmp_path, monkeypatch):
    run(tmp_path, dict(ATTO, model_name=name), ToyBackbone())
    with pytest.raises(ValueError, match=r'no model of timm is known for the mmpretrain\.TIMMBackbone'):
        export(tmp_path / 'run.pth', tmp_path / 'out.pth', 'timm')


@pytest.mark.parametrize(
    ('backbone', 'call'), [(ATTO, "'convnext_atto', features_only=True"), (R18D, "'resnet18d', features_only=True")]
)
def test_without_timm_the_line_says_that_nothing_was_verified(backbone, call, tmp_path, monkeypatch):
    model = run(tmp_path, backbone)
    monkeypatch.setitem(sys.modules, 'timm', None)
    load = export(tmp_path / 'run.pth', tmp_path / 'out.pth', 'timm')['load']
    assert call in load and 'NOT verified, timm is not installed here' in load
    monkeypatch.undo()
    assert set(loaded(load).state_dict()) == {key.removeprefix('timm_model.') for key in model.state_dict()}
