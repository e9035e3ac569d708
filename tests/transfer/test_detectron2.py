"""Exports for detectron2: what its ResNet computes with them, and what it has no place for."""

import ast
import pickle
import pickletools
import re

import pytest
import torch
from checkpoints import built, pretrained, small_resnet
from export_runs import VIT, random_run
from mmengine.config import ConfigDict

from viewplug.transfer.check import Origin, check_model
from viewplug.transfer.export import export
from viewplug.transfer.init_from_ssl import InitFromSSL

R50 = dict(type='mmpretrain.ResNet', depth=50, stem_channels=8, base_channels=8, out_indices=(0, 1, 2, 3))
C4 = dict(R50, num_stages=3, strides=(1, 2, 2), dilations=(1, 1, 1), out_indices=(0, 1, 2))
NARROW = 'STEM_OUT_CHANNELS: 8; MODEL.RESNETS.RES2_OUT_CHANNELS: 32; MODEL.RESNETS.WIDTH_PER_GROUP: 8'
NETWORKS = {
    'resnet18': (dict(R50, depth=18, stem_channels=64, base_channels=64), 'DEPTH: 18', 'RES2_OUT_CHANNELS: 64'),
    'resnet50': (R50, 'DEPTH: 50', 'STRIDE_IN_1X1: False', NARROW),
    'caffe': (dict(R50, style='caffe'), 'STRIDE_IN_1X1: True'),
    'dilated': (dict(R50, strides=(1, 2, 2, 1), dilations=(1, 1, 1, 2)), 'RES5_DILATION: 2'),
    'c4': (C4, 'DEPTH: 50', "OUT_FEATURES: ['res4']", 'the res5 of its RoI head starts anew'),
    'cpc': (dict(C4, depth=101, out_indices=(2,)), 'DEPTH: 101', "OUT_FEATURES: ['res4']"),
    'c4_of_res3': (dict(C4, depth=152, out_indices=(1,)), 'DEPTH: 152', "OUT_FEATURES: ['res4']"),
    'c4_resnet34': (dict(C4, depth=34, stem_channels=64, base_channels=64), 'DEPTH: 34', "OUT_FEATURES: ['res4']"),
    'resnext': (dict(R50, type='mmpretrain.ResNeXt', groups=2, width_per_group=4), 'WIDTH_PER_GROUP: 4', 'GROUPS: 2'),
}


@pytest.mark.parametrize('name', NETWORKS)
def test_the_line_names_the_settings_of_detectron2s_resnet_and_its_features_are_compared(name, tmp_path):
    backbone, *settings = NETWORKS[name]
    random_run(tmp_path, backbone)
    load = export(tmp_path / 'run.pth', tmp_path / 'r.pkl', 'detectron2')['load']
    assert all(setting in load for setting in settings), load
    assert "  # features compared with those of such a ResNet of torchvision's blocks" in load
    assert ('C4' in load) == (name.startswith(('c4', 'cpc')))


@pytest.mark.parametrize('name', NETWORKS)
@torch.no_grad()
def test_detectron2_itself_gives_the_features_of_the_run(name, tmp_path):
    pytest.importorskip('detectron2')
    from detectron2.checkpoint import DetectionCheckpointer
    from detectron2.config import get_cfg
    from detectron2.layers import ShapeSpec
    from detectron2.modeling.backbone import build_resnet_backbone

    model = random_run(tmp_path, NETWORKS[name][0])
    load = export(tmp_path / 'run.pth', tmp_path / 'r.pkl', 'detectron2')['load']
    cfg = get_cfg()
    cfg.MODEL.RESNETS.OUT_FEATURES = ['res2', 'res3', 'res4', 'res5']
    for key, value in re.findall(r'MODEL\.RESNETS\.(\w+): (.+?)(?=;|  #)', load):
        cfg.MODEL.RESNETS[key] = ast.literal_eval(value)
    theirs = build_resnet_backbone(cfg, ShapeSpec(channels=3)).eval()
    DetectionCheckpointer(theirs).load(str(tmp_path / 'r.pkl'))
    images = torch.randn(1, 3, 96, 64)
    model.out_indices = {3: (2,), 4: (0, 1, 2, 3)}[model.num_stages]  # C4's OUT_FEATURES are of res4 alone
    for mine, other in zip(model(images), theirs(images).values(), strict=True):
        assert (mine - other).abs().max() <= 1e-5 * mine.abs().max()


@pytest.mark.parametrize(
    ('backbone', 'sentence'),
    [
        (dict(R50, type='mmpretrain.ResNetV1c'), r'does not fit \(conv1\.weight is missing'),
        (dict(R50, type='mmpretrain.ResNet_CIFAR', depth=18), r'is \(8, 3, 3, 3\), not \(8, 3, 7, 7\)\); take mmdet'),
        (dict(R50, type='mmpretrain.SEResNet'), r'layer1\.0\.se_layer\.conv1\.conv\.weight is unknown'),
        (dict(R50, avg_down=True), r'layer2\.0\.downsample\.0\.weight is missing'),
        (dict(R50, norm_cfg=dict(type='BN', eps=0.1)), r"its features of a random image differ .*'eps': 0\.1"),
        (dict(C4, norm_cfg=dict(type='BN', eps=0.1)), r"its features of a random image differ .*'eps': 0\.1"),
        (dict(C4, strides=(1, 2, 1)), r'its features of a random image differ .*strides=\[1, 2, 1\]'),
        (dict(C4, norm_cfg=dict(type='GN', num_groups=4)), r'bn1\.running_mean is missing'),
        (
            dict(C4, num_stages=2, strides=(1, 2), dilations=(1, 1), out_indices=(1,)),
            r'no model of detectron2 is known',
        ),
        (VIT, r"no name for a ViT; take timm, which detectron2's ViTDet reads: .*\?matching_heuristics=True"),
    ],
)
def test_what_detectron2s_resnet_is_not_is_refused_and_nothing_is_written(backbone, sentence, tmp_path):
    random_run(tmp_path, backbone)
    with pytest.raises(ValueError, match=sentence):
        export(tmp_path / 'run.pth', tmp_path / 'no.pkl', 'detectron2')
    assert [path.name for path in tmp_path.iterdir()] == ['run.pth']


def test_a_pickle_for_detectron2_names_nothing_that_an_older_numpy_or_a_machine_without_openmmlab_lacks(tmp_path):
    pretrained(tmp_path / 'v.pth', config='model = dict(backbone=dict(depth=18))')
    export(tmp_path / 'v.pth', tmp_path / 'r.pkl', 'detectron2')
    content = (tmp_path / 'r.pkl').read_bytes()
    words = [value for _, value, _ in pickletools.genops(content) if isinstance(value, str)]
    assert {'numpy', 'builtins'} < set(words)  # the modules of what a pickle asks for are words in it
    assert not any(word.startswith(('numpy.', 'mmengine', 'torch', 'viewplug.')) for word in words)
    assert all(value.flags.writeable for value in pickle.loads(content)['model'].values())


def test_the_pyramids_norm_is_in_the_line(tmp_path):
    loss = dict(type='InfoNCELoss')
    head = dict(type='RegionHead', window=(32, 48), stride=(24, 32), downsample=(8, 16), loss=loss)
    for norm, said in ((None, "MODEL.FPN.NORM: '', as in"), (dict(type='BN'), 'MODEL.FPN.NORM: SyncBN, as in')):
        neck = dict(type='RegionNeck', stages=('P3', 'P4'), fpn_channels=16, hidden_channels=8, out_channels=8)
        pretrained(tmp_path / 'v.pth', branches=dict(region=dict(neck=dict(neck, fpn_norm_cfg=norm), head=head)))
        assert said in export(tmp_path / 'v.pth', tmp_path / 'r.pkl', 'detectron2', keep=['resim'])['load']
        assert 'FPN' not in export(tmp_path / 'v.pth', tmp_path / 'r.pkl', 'detectron2')['load']


@pytest.mark.parametrize('style', ['pytorch', 'caffe'])
def test_a_stride_on_another_convolution_is_an_error_and_where_the_file_does_not_say_a_warning(style, tmp_path):
    random_run(tmp_path, R50)
    export(tmp_path / 'run.pth', tmp_path / 'told.pkl', 'detectron2')
    content = pickle.loads((tmp_path / 'told.pkl').read_bytes())
    (tmp_path / 'untold.pkl').write_bytes(pickle.dumps(dict(model=content['model'], __author__='MOCO')))
    model = torch.nn.Module()
    model.backbone = built(ConfigDict(small_resnet(depth=50, style=style)))
    found = {}
    for name in ('told', 'untold'):
        path = str(tmp_path / f'{name}.pkl')
        InitFromSSL(path).write(model)
        (found[name],) = check_model(model, [Origin('backbone', path, by_hook=True)])
    assert len(found['told'].errors) == (style == 'caffe') and not found['told'].warnings
    assert style == 'pytorch' or "Set style='pytorch'" in found['told'].errors[0]
    (warning,) = found['untold'].warnings
    assert not found['untold'].errors and warning.startswith(f"style='{style}', and a file of detectron2 does not say")
    load = export(tmp_path / 'untold.pkl', tmp_path / 'out.pth', 'mmdet')['load']
    assert 'NOTE: a file of detectron2 does not say' in load
