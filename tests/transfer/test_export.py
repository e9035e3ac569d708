"""Export: the same features before and after, through the library that is to use the file."""

import json
import pickle

import numpy as np
import pytest
import timm
import torch
import torchvision
from checkpoints import NORMALISATION, built, faster_rcnn, plain, pretrained, same
from mmengine.config import Config, ConfigDict
from safetensors import safe_open
from safetensors.torch import load_file
from torch import nn
from toys import hcl_branch

from viewplug.transfer import InitFromSSL
from viewplug.transfer.card import sha256_of_file, sha256_of_weights
from viewplug.transfer.checkpoint import read_checkpoint, weights_of
from viewplug.transfer.export import WRITERS, export

R18 = dict(type='mmpretrain.ResNet', depth=18, out_indices=(0, 1, 2, 3))
DATA = dict(dataset=dict(type='viewplug.ImageFolder', data_root='data/images', pipeline=[dict(type='X')]))
VIT = dict(img_size=32, patch_size=8, embed_dim=24, depth=2, num_heads=2)


def close(a: torch.Tensor, b: torch.Tensor) -> bool:
    return bool((a - b).abs().max() <= 1e-5 * b.abs().max())


@pytest.fixture(scope='module')
def resnet(tmp_path_factory):
    """A run on ResNet-18, its weights, and images with their features."""
    path = tmp_path_factory.mktemp('resnet') / 'epoch_3.pth'
    text = Config(dict(data_preprocessor=NORMALISATION, model=dict(backbone=R18), train_dataloader=DATA)).pretty_text
    state = pretrained(path, R18, config=text)
    images = torch.randn(2, 3, 64, 64)
    features = {}
    for prefix in ('backbone.', 'target.backbone.'):
        model = built(ConfigDict(R18), 'mmpretrain')
        model.load_state_dict({k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)})
        model.eval()
        features[prefix] = model(images)[-1]
    return str(path), state, images, features


@pytest.fixture(scope='module')
def vit(tmp_path_factory):
    path = tmp_path_factory.mktemp('vit') / 'epoch_3.pth'
    torch.manual_seed(1)
    model = timm.create_model('vit_tiny_patch16_224', num_classes=0, **VIT).eval()
    state = {f'backbone.{key}': value for key, value in model.state_dict().items()}
    torch.save(dict(state_dict=state | {'target.' + key: value + 1 for key, value in state.items()}, meta={}), path)
    images = torch.randn(2, 3, 32, 32)
    return str(path), state, images, model.forward_features(images)


@pytest.mark.parametrize(('to_rgb', 'order'), [(True, 'RGB'), (False, 'BGR')])
def test_a_file_says_in_which_order_its_stem_saw_channels(to_rgb, order, tmp_path):
    data = dict(dataset=dict(type='viewplug.ImageFolder', pipeline=[dict(type='LoadImageFromFile')]))
    text = Config(dict(data_preprocessor={**NORMALISATION, 'to_rgb': to_rgb}, train_dataloader=data)).pretty_text
    pretrained(tmp_path / 'v.pth', config=text)
    card = export(tmp_path / 'v.pth', tmp_path / 'r.pkl', 'detectron2')
    assert card['channel_order'] == order and f'INPUT.FORMAT: {order} (the stem sees {order}' in card['load']
    assert export(tmp_path / 'v.pth', tmp_path / 'r.pth', 'mmdet')['load'].endswith(f'57.375], {order} of 0 to 255')


@pytest.mark.parametrize(
    ('format', 'ending'), [('mmdet', 'pth'), ('safetensors', 'safetensors'), ('detectron2', 'pkl')]
)
def test_weights_in_bfloat16_are_exported_too(format, ending, tmp_path):
    state = pretrained(tmp_path / 'v.pth')
    state = {key: value.bfloat16() if value.is_floating_point() else value for key, value in state.items()}
    torch.save(dict(state_dict=state), tmp_path / 'v.pth')
    card = export(tmp_path / 'v.pth', tmp_path / f'r.{ending}', format)
    stem = 'stem.conv1.weight' if format == 'detectron2' else 'conv1.weight'
    written = weights_of(read_checkpoint(tmp_path / f'r.{ending}'))
    assert torch.equal(written[stem].bfloat16(), state['backbone.conv1.weight']) and len(card['weights_sha256']) == 64


@pytest.mark.parametrize('momentum', [False, True])
def test_features_of_torchvisions_resnet_are_equal(resnet, momentum, tmp_path):
    path, _, images, features = resnet
    export(path, tmp_path / 'r.pth', 'torchvision', momentum)
    model = torchvision.models.resnet18()
    model.fc = nn.Identity()
    model.load_state_dict(torch.load(tmp_path / 'r.pth', weights_only=True))  # strict
    expected = features['target.backbone.' if momentum else 'backbone.'].mean((2, 3))
    assert close(model.eval()(images), expected)


def test_features_of_timms_resnet_are_equal(resnet, tmp_path):
    path, _, images, features = resnet
    export(path, tmp_path / 'r.pth', 'timm')
    model = timm.create_model('resnet18', num_classes=0)
    model.load_state_dict(torch.load(tmp_path / 'r.pth', weights_only=True))
    expected = features['backbone.']
    assert close(model.eval().forward_features(images), expected)


def test_features_of_mmdets_resnet_are_equal_with_a_plain_init_cfg(resnet, tmp_path):
    path, state, images, features = resnet
    export(path, tmp_path / 'r.pth', 'mmdet')
    model = built(ConfigDict(type='ResNet', depth=18, init_cfg=plain(tmp_path / 'r.pth', None)), 'mmdet')
    assert same(model, state, 'backbone.') == 120
    model.eval()
    expected = features['backbone.']
    assert close(model(images)[-1], expected)


def test_safetensors_hold_the_weights_and_the_card(resnet, tmp_path):
    path, _, images, features = resnet
    card = export(path, tmp_path / 'r.safetensors', 'safetensors')
    model = timm.create_model('resnet18', num_classes=0)
    model.load_state_dict(load_file(tmp_path / 'r.safetensors'))
    expected = features['backbone.']
    assert close(model.eval().forward_features(images), expected)
    with safe_open(tmp_path / 'r.safetensors', 'pt') as file:
        inside = file.metadata()
    assert inside['weights_sha256'] == card['weights_sha256'] and inside['epochs'] == '3'
    assert sha256_of_weights(load_file(tmp_path / 'r.safetensors')) == card['weights_sha256']


@pytest.mark.parametrize('ending', ['timm', 'safetensors'])
def test_features_of_timms_vit_are_equal(vit, ending, tmp_path):
    path, _, images, features = vit
    out = tmp_path / f'v.{"pth" if ending == "timm" else ending}'
    export(path, out, ending)
    model = timm.create_model('vit_tiny_patch16_224', num_classes=0, **VIT)
    model.load_state_dict(weights_of(read_checkpoint(out)))
    assert torch.allclose(model.eval().forward_features(images), features, atol=1e-5)


def test_features_of_mmpretrains_vit_are_equal_with_a_plain_init_cfg(vit, tmp_path):
    path, _, images, features = vit
    export(path, tmp_path / 'v.pth', 'mmdet')
    arch = dict(embed_dims=24, num_layers=2, num_heads=2, feedforward_channels=96)
    cfg = dict(type='VisionTransformer', arch=arch, img_size=32, patch_size=8, out_type='raw')
    model = built(ConfigDict(cfg, init_cfg=plain(tmp_path / 'v.pth', None)), 'mmpretrain')
    model.eval()
    assert torch.allclose(model(images)[0], features, atol=1e-5)


def test_the_line_of_a_vit_for_mmdet_says_which_backbone_it_is_for(vit, tmp_path):
    load = export(vit[0], tmp_path / 'v.pth', 'mmdet')['load']
    assert "for type='mmpretrain.VisionTransformer' (viewplug.QueryViT has timm's names, and takes format timm" in load


@torch.no_grad()
@pytest.mark.parametrize('way', ['timm', 'InitFromSSL'])
def test_query_vit_takes_a_vit_by_the_ways_that_the_line_names(vit, way, tmp_path):
    path, _, images, features = vit
    cfg = dict(type='viewplug.QueryViT', model_name='vit_tiny_patch16_224', **VIT)
    model = nn.Module()
    if way == 'timm':
        export(path, tmp_path / 'v.pth', 'timm')
        cfg['init_cfg'] = plain(tmp_path / 'v.pth', None)
    model.backbone = built(ConfigDict(cfg), 'mmdet')
    if way == 'InitFromSSL':
        InitFromSSL(path).write(model)
    assert torch.allclose(model.eval().backbone(images)['cls'], features[:, 0], atol=1e-5)


@pytest.mark.parametrize(
    ('settings', 'name'),
    [
        (dict(reg_tokens=2), 'reg_token'),
        (dict(qk_norm=True), r'blocks\.0\.attn\.q_norm\.weight'),
        (dict(pre_norm=True), r'norm_pre\.weight'),
        (dict(class_token=False, global_pool='avg'), r'fc_norm\.weight'),
    ],
)
def test_a_vit_with_layers_that_mmpretrains_has_not_is_refused_for_mmdet(settings, name, tmp_path):
    model = timm.create_model('vit_tiny_patch16_224', num_classes=0, **VIT, **settings)
    torch.save(model.state_dict(), tmp_path / 'vit.pth')
    with pytest.raises(
        ValueError, match=rf"mmpretrain's VisionTransformer for a ViT, and that has no {name}; take timm"
    ):
        export(tmp_path / 'vit.pth', tmp_path / 'out.pth', 'mmdet')
    assert [path.name for path in tmp_path.iterdir()] == ['vit.pth']


def test_detectron2_gets_its_documented_names_rgb_stem_and_batch_norm_buffers(resnet, tmp_path):
    path, state, _, _ = resnet
    card = export(path, tmp_path / 'r.pkl', 'detectron2')
    content = pickle.loads((tmp_path / 'r.pkl').read_bytes())
    assert content['__author__'] == 'viewplug' and content['matching_heuristics'] is True
    assert content['card']['epochs'] == 3
    model = content['model']
    assert all(isinstance(value, np.ndarray) and value.dtype == np.float32 for value in model.values())
    pairs = {'stem.conv1.weight': 'conv1.weight'}
    for part in ('weight', 'bias', 'running_mean', 'running_var'):
        pairs[f'stem.conv1.norm.{part}'] = f'bn1.{part}'
        for stage, block, conv in ((1, 0, 1), (1, 1, 2), (2, 0, 1), (3, 1, 2), (4, 0, 2), (4, 1, 1)):
            pairs[f'res{stage + 1}.{block}.conv{conv}.norm.{part}'] = f'layer{stage}.{block}.bn{conv}.{part}'
            pairs[f'res{stage + 1}.{block}.conv{conv}.weight'] = f'layer{stage}.{block}.conv{conv}.weight'
        for stage in (2, 3, 4):
            pairs[f'res{stage + 1}.0.shortcut.norm.{part}'] = f'layer{stage}.0.downsample.1.{part}'
            pairs[f'res{stage + 1}.0.shortcut.weight'] = f'layer{stage}.0.downsample.0.weight'
    for theirs, ours in pairs.items():
        assert np.array_equal(model[theirs], state[f'backbone.{ours}'].numpy()), theirs
    assert len(model) == 5 * 20  # a weight, and a norm of four tensors, for each of 20 convolutions
    assert 'INPUT.FORMAT: RGB' in card['load'] and 'STRIDE_IN_1X1: False' in card['load']
    assert 'MODEL.PIXEL_MEAN: [123.675, 116.28, 103.53]' in card['load']


def test_a_detectron2_file_comes_back_through_the_hook_with_equal_features(resnet, tmp_path):
    path, _, images, features = resnet
    export(path, tmp_path / 'r.pkl', 'detectron2')
    model = nn.Module()
    model.backbone = built(ConfigDict(R18), 'mmpretrain')
    InitFromSSL(str(tmp_path / 'r.pkl')).write(model)
    model.eval()
    expected = features['backbone.']
    assert close(model.backbone(images)[-1], expected)


@pytest.mark.parametrize(('kind', 'said'), [('ResNet', False), ('ResNet_CIFAR', True)])
def test_the_line_for_openmmlab_names_a_network_that_is_not_the_plain_resnet(kind, said, tmp_path):
    text = Config(dict(model=dict(backbone=dict(type=f'mmpretrain.{kind}', depth=18)))).pretty_text
    pretrained(tmp_path / 'v.pth', config=text)
    load = export(tmp_path / 'v.pth', tmp_path / 'r.pth', 'mmdet')['load']
    assert ("for type='mmpretrain.ResNet_CIFAR'" in load) == said and "style='pytorch'" in load


def test_the_card_says_where_the_weights_come_from(resnet, tmp_path):
    path, _, _, _ = resnet
    export(path, tmp_path / 'r.pth', 'mmdet')
    card = json.loads((tmp_path / 'r.pth.json').read_text())
    assert card['commit'] == 'ab' * 20 and (card['epochs'], card['iterations']) == (3, 42)
    assert card['data'] == dict(type='viewplug.ImageFolder', data_root='data/images')
    assert card['normalisation'] == NORMALISATION and card['backbone']['depth'] == 18
    assert 'mmpretrain.ResNet' in card['config'] and card['prefix'] == 'backbone.' and not card['momentum']
    assert card['source_sha256'] == sha256_of_file(path)
    assert card['file_sha256'] == sha256_of_file(tmp_path / 'r.pth')
    inside = torch.load(tmp_path / 'r.pth', weights_only=True)
    assert inside['meta']['weights_sha256'] == card['weights_sha256'] == sha256_of_weights(inside['state_dict'])
    assert card['parameters'] == sum(p.numel() for p in torchvision.models.resnet18().parameters()) - 513 * 1000


def test_hcls_pyramid_stays_behind_unless_kept_and_resims_loads_into_a_detector(tmp_path):
    region = dict(
        neck=dict(type='RegionNeck', stages=('P3', 'P4'), fpn_channels=16, hidden_channels=8, out_channels=8),
        head=dict(
            type='RegionHead', window=(32, 48), stride=(24, 32), downsample=(8, 16), loss=dict(type='InfoNCELoss')
        ),
    )
    state = pretrained(tmp_path / 'x.pth', branches=dict(image=hcl_branch(), region=region))
    export(tmp_path / 'x.pth', tmp_path / 'alone.pth', 'mmdet')
    alone = torch.load(tmp_path / 'alone.pth', weights_only=True)['state_dict']
    assert len(alone) == 120
    card = export(tmp_path / 'x.pth', tmp_path / 'kept.pth', 'mmdet', keep=['resim', 'hcl'])
    kept = torch.load(tmp_path / 'kept.pth', weights_only=True)['state_dict']
    names = {key.split('.')[0] for key in kept}
    assert names == {'backbone', 'neck', 'hcl_spatial'} and card['kept'] == ['resim', 'hcl']
    spatial = {key: v for key, v in state.items() if key.startswith('branches.image.neck.spatial.')}
    assert spatial and all(
        torch.equal(kept[key.replace('branches.image.neck.spatial.', 'hcl_spatial.')], v) for key, v in spatial.items()
    )
    cfg = faster_rcnn()
    cfg.backbone.init_cfg, cfg.neck.init_cfg = plain(tmp_path / 'kept.pth'), plain(tmp_path / 'kept.pth', 'neck.')
    detector = built(cfg)
    assert same(detector.backbone, state, 'backbone.') == 120
    weight = state['branches.region.neck.fpn.lateral_convs.2.conv.weight']
    assert torch.equal(detector.neck.lateral_convs[2].conv.weight, weight)
    export(tmp_path / 'x.pth', tmp_path / 'd2.pkl', 'detectron2', keep=['resim'], momentum=True)
    model = pickle.loads((tmp_path / 'd2.pkl').read_bytes())['model']
    theirs = {key for key in model if key.startswith('fpn_')}
    levels = ('lateral3', 'lateral4', 'lateral5', 'output3', 'output4')
    assert theirs == {f'fpn_{level}.{part}' for level in levels for part in ('weight', 'bias')}
    momentum = state['target.necks.region.fpn.fpn_convs.1.conv.weight']
    assert np.array_equal(model['fpn_output3.weight'], momentum.numpy())


def test_a_classifier_is_not_part_of_a_backbone(tmp_path):
    torch.save(torchvision.models.resnet18().state_dict(), tmp_path / 'tv.pth')
    export(tmp_path / 'tv.pth', tmp_path / 'out.pth', 'timm')
    assert set(torch.load(tmp_path / 'out.pth')) == set(timm.create_model('resnet18', num_classes=0).state_dict())


@pytest.mark.parametrize(
    ('out', 'format', 'options', 'sentence'),
    [
        ('x.pth', 'onnx', {}, "format must be one of mmdet, timm.*got 'onnx'"),
        ('x.pth', 'detectron2', {}, r'x\.pth: a file of format detectron2 ends in \.pkl'),
        ('x.pickle', 'detectron2', {}, r'x\.pickle: a file of format detectron2 ends in \.pkl'),
        ('x.safetensors', 'mmdet', {}, r'a file of format mmdet ends in \.pth'),
        ('x.pth', 'timm', dict(keep=['hcl']), 'format timm has no place for hcl'),
        ('x.pth', 'mmdet', dict(keep=['fpn']), "keep takes resim and hcl, got 'fpn'"),
        ('x.pth', 'mmdet', dict(keep=['resim']), 'the checkpoint has no pyramid of ReSim-FPN'),
        ('x.pth', 'torchvision', {}, 'format torchvision has no name for a ViT'),
        (
            'x.pth',
            'mmdet',
            dict(source='enc.'),
            r"nothing under source='enc\.'\. The file has backbones under 'backbone",
        ),
    ],
)
def test_mistakes_of_an_export_are_sentences_and_write_nothing(out, format, options, sentence, vit, tmp_path):
    with pytest.raises(ValueError, match=sentence):
        export(vit[0], tmp_path / out, format, **options)
    assert not list(tmp_path.iterdir())


def test_an_export_does_not_take_the_place_of_its_checkpoint_or_of_a_folder(vit, tmp_path):
    with pytest.raises(ValueError, match='is the checkpoint itself'):
        export(vit[0], vit[0], 'mmdet')
    assert 'target.backbone.cls_token' in torch.load(vit[0], weights_only=True)['state_dict']
    with pytest.raises(ValueError, match='is a folder: name a file in it'):
        export(vit[0], tmp_path, 'mmdet')


def test_a_file_without_a_backbone_or_a_momentum_encoder_says_so(tmp_path):
    torch.save(dict(weight=torch.zeros(2)), tmp_path / 'w.pth')
    with pytest.raises(ValueError, match='no backbone found; name its prefix as source. The file has weight'):
        export(tmp_path / 'w.pth', tmp_path / 'x.pth', 'mmdet')
    torch.save(first_block(), tmp_path / 'tv.pth')
    with pytest.raises(ValueError, match='there is no momentum encoder'):
        export(tmp_path / 'tv.pth', tmp_path / 'x.pth', 'mmdet', momentum=True)


def first_block() -> dict:
    """A ResNet's first block, without a momentum copy."""
    return {'layer1.0.conv1.weight': torch.zeros(2, 2, 3, 3), 'conv1.weight': torch.zeros(2, 3, 7, 7)}


def test_a_writer_that_fails_leaves_no_file(resnet, tmp_path, monkeypatch):
    def fails(state, card, path):
        raise OSError('no space')

    monkeypatch.setitem(WRITERS, 'mmdet', fails)
    with pytest.raises(OSError, match='no space'):
        export(resnet[0], tmp_path / 'out/x.pth', 'mmdet')
    assert list((tmp_path / 'out').iterdir()) == []
