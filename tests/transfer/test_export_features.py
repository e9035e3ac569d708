"""Export to timm and torchvision: the features of the run, and how to read them, or nothing is written."""

import pytest
import timm
import torch
from export_runs import ATTO, VIT, loaded, random_run, run
from mmengine.logging import MMLogger

from viewplug.backbones import pooled
from viewplug.ops.channels_first import channels_first
from viewplug.transfer.export import export

RESNET = dict(type='mmpretrain.ResNet', depth=18)
MMVIT = dict(
    type='mmpretrain.VisionTransformer',
    arch=dict(embed_dims=24, num_layers=2, num_heads=3, feedforward_channels=48),
    img_size=32,
    patch_size=8,
)
SWIN = dict(
    type='mmpretrain.TIMMBackbone',
    model_name='swin_tiny_patch4_window7_224',
    img_size=32,
    window_size=1,
    embed_dim=24,
    depths=(1, 1, 1, 1),
    num_heads=(1, 2, 2, 4),
)


@pytest.fixture(scope='module', autouse=True)
def logger():
    """Made here, for one made within a test would keep that test's captured stderr."""
    return MMLogger.get_current_instance()


@pytest.mark.parametrize(
    ('backbone', 'format', 'setting'),
    [
        (dict(RESNET, strides=(1, 2, 2, 1)), 'timm', r'strides=\[1, 2, 2, 1\]'),
        (
            dict(RESNET, strides=(1, 2, 2, 1), dilations=(1, 1, 1, 2)),
            'torchvision',
            r'dilations=\[1, 1, 1, 2\], strides=',
        ),
        (dict(RESNET, norm_cfg=dict(type='BN', eps=1e-3)), 'torchvision', "norm_cfg={'eps': 0.001"),
        (dict(MMVIT, norm_cfg=dict(type='LN', eps=1e-5)), 'timm', "norm_cfg={'eps': 1e-05"),
    ],
)
def test_equal_names_and_shapes_with_other_features_are_refused_with_the_setting(backbone, format, setting, tmp_path):
    random_run(tmp_path, backbone)
    with pytest.raises(ValueError, match=rf"differ by .* from the run's, of mean size .*: the run has {setting}"):
        export(tmp_path / 'run.pth', tmp_path / 'out.pth', format)
    assert [path.name for path in tmp_path.iterdir()] == ['run.pth']


@torch.no_grad()
@pytest.mark.parametrize(
    ('backbone', 'code'),
    [
        (MMVIT, 'model(x)'),
        (dict(MMVIT, layer_cfgs=dict(act_cfg=dict(type='ReLU'))), 'model(x)'),
        (dict(MMVIT, out_type='raw'), 'model.forward_features(x).mean(1)'),
        (dict(MMVIT, out_type='featmap'), 'model.forward_features(x)[:, 1:].mean(1)'),
        (VIT, 'model(x).mean(1)'),
        (dict(ATTO, features_only=False), 'model(x).mean((2, 3))'),
        (SWIN, 'model(x).mean((1, 2))'),
        (RESNET, 'model(x)'),
    ],
)
def test_the_line_says_how_to_read_the_trained_features(backbone, code, tmp_path):
    model = random_run(tmp_path, backbone)
    load = export(tmp_path / 'run.pth', tmp_path / 'out.pth', 'timm')['load']
    assert f"features compared: the run's are {code};" in load
    images = torch.randn(2, 3, 32, 32)
    theirs = eval(code, dict(model=loaded(load), x=images))
    assert torch.allclose(theirs, pooled(channels_first(model)(images)), atol=1e-5)


def test_an_earlier_stage_that_the_run_read_is_named(tmp_path):
    random_run(tmp_path, dict(RESNET, out_indices=(2,)))
    load = export(tmp_path / 'run.pth', tmp_path / 'out.pth', 'torchvision')['load']
    assert "the run's without out_indices=[2] are model(x)" in load


@pytest.mark.parametrize(
    ('backbone', 'reason'),
    [
        ({}, 'the file records no backbone'),
        (dict(type='MyResNet', depth=18), 'MyResNet is not registered here'),
        (dict(type='subprocess.Popen', args='true'), 'subprocess.Popen is not registered here'),
        (dict(RESNET, norm_cfg=dict(type='os.system')), 'os.system is not registered here'),
        (dict(type='mmpretrain.ImageClassifier', backbone=RESNET), 'ImageClassifier is no backbone or layer of mm'),
        (dict(RESNET, style='/a/file'), 'may name a file or code'),
        (dict(RESNET, depth=34), 'is not in both the file and the recorded backbone'),
    ],
)
def test_a_backbone_that_cannot_be_built_is_exported_with_features_not_compared(backbone, reason, tmp_path):
    run(tmp_path, backbone, timm.create_model('resnet18', num_classes=0))
    load = export(tmp_path / 'run.pth', tmp_path / 'out.pth', 'timm')['load']
    assert 'features NOT compared: ' in load and reason in load
