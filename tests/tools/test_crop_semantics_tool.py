"""tools/crop_semantics.py from a run and a classifier to numbers and a plot."""

import importlib.util
import json
import re
from pathlib import Path
from urllib.error import URLError

import numpy as np
import pytest
import torch
import torchvision
from PIL import Image
from pretend_gpu import pretend_gpu

ROOT = Path(__file__).resolve().parents[2]
CONFIG = """
model = dict(
    type='viewplug.Siamese',
    backbone=dict(type='mmpretrain.ResNet', depth=18, stem_channels=8, base_channels=8),
    branches=dict(image=dict(
        neck=dict(type='viewplug.MLPNeck', out_channels=8),
        head=dict(type='viewplug.QueueHead', queue_len=8, loss=dict(type='viewplug.InfoNCELoss')))),
    target=dict(type='viewplug.MomentumTarget'))
data_preprocessor = dict(mean=[127.5] * 3, std=[127.5] * 3)
view = [dict(type='viewplug.ContrastiveCrop', scale=32, alpha=0.3)]
train_dataloader = dict(dataset=dict(
    type='viewplug.ShapeScenes', num_images=40, image_size=40,
    pipeline=[dict(type='viewplug.MultiView', num_views=2, transforms=[view]), dict(type='PackInputs')]))
default_scope = 'mmpretrain'
"""
CLASSIFIER = """
model = dict(
    type='mmpretrain.ImageClassifier',
    backbone=dict(type='mmpretrain.ResNet', depth=18, stem_channels=8, base_channels=8),
    neck=dict(type='mmpretrain.GlobalAveragePooling'),
    head=dict(type='mmpretrain.LinearClsHead', num_classes=12, in_channels=64))
data_preprocessor = dict(type='mmpretrain.ClsDataPreprocessor', num_classes=12, mean=[127.5] * 3, std=[127.5] * 3)
"""


@pytest.fixture(scope='module')
def tool():
    spec = importlib.util.spec_from_file_location('crop_semantics_tool', ROOT / 'tools/crop_semantics.py')
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope='module')
def files(tmp_path_factory):
    """Config and checkpoint of a run, config and checkpoint of a classifier."""
    from mmengine import Config
    from mmengine.registry import MODELS, DefaultScope

    folder, written = tmp_path_factory.mktemp('run'), []
    for name, text in (('moco', CONFIG), ('classifier', CLASSIFIER)):
        (folder / f'{name}.py').write_text(text)
        with DefaultScope.overwrite_default_scope('mmpretrain'):
            model = MODELS.build(Config.fromfile(folder / f'{name}.py').model)
        model.init_weights()
        torch.save(dict(state_dict=model.state_dict()), folder / f'{name}.pth')
        written += [str(folder / f'{name}.py'), str(folder / f'{name}.pth')]
    return written


def test_a_classifier_judges_the_crops_of_a_run(tool, files, capsys):
    run, classifier = files[:2], files[2:]
    command = [*run, '--scorer', *classifier, '--num', '35', '--pairs', '2', '--bins', '4', '--threshold', '0.5']
    assert tool.main(command) == 0
    out = Path(run[1]).parent / 'crop_semantics_test/moco.json'
    report = json.loads(out.read_text())
    assert report['images'] == 35 and report['alpha'] == 0.3
    assert [way['n'] for way in report['ways'].values()] == [70] * 4
    assert 0 < report['ways']['ContrastiveCrop']['score'] < 1
    assert sum(row['n'] for rows in report['by_distance'].values() for row in rows) <= 280
    assert np.asarray(Image.open(out.with_suffix('.png')))[..., :3].std() > 10
    assert re.search(
        r'ContrastiveCrop: class score 0\.\d+, distance of views \d\.\d+, 70 pairs', capsys.readouterr().out
    )


def test_it_judges_them_on_a_gpu_as_well(tool, files, capsys):
    with pretend_gpu():
        test_a_classifier_judges_the_crops_of_a_run(tool, files, capsys)


def test_torchvisions_networks_judge_images_without_labels(tool, files, tmp_path):
    folder = tmp_path / 'images'
    folder.mkdir()
    for index in range(2):
        Image.fromarray(np.random.randint(0, 255, (40, 50, 3), np.uint8)).save(folder / f'{index}.png')
    weights = tmp_path / 'squeeze.pth'
    network = torchvision.models.mobilenet_v3_small()
    torch.save(network.state_dict(), weights)
    out = tmp_path / 'found.json'
    command = [*files[:2], '--scorer', 'mobilenet_v3_small', str(weights), '--data-root', str(folder), '--pairs', '1']
    assert tool.main([*command, '--out', str(out)]) == 0
    assert json.loads(out.read_text())['images'] == 2


def test_images_that_cannot_be_read_are_counted_apart(tool, files, tmp_path, capsys):
    folder, out = tmp_path / 'images', tmp_path / 'found.json'
    folder.mkdir()
    (folder / '0.png').write_bytes(b'no image')
    for index in (1, 2):
        Image.fromarray(np.random.randint(0, 255, (40, 50, 3), np.uint8)).save(folder / f'{index}.png')
    command = [*files[:2], '--scorer', *files[2:], '--data-root', str(folder), '--pairs', '1', '--out', str(out)]
    assert tool.main(command) == 0
    report = json.loads(out.read_text())
    assert (report['images'], report['unreadable']) == (2, 1)
    assert '2 images (1 more cannot be read: left out)' in capsys.readouterr().out
    out.unlink()
    assert tool.main([*command, '--num', '1']) == 2
    assert 'none of the 1 images picked can be read' in capsys.readouterr().err and not out.exists()


def test_torchvisions_networks_get_normalised_rgb(tool, tmp_path):
    network = torchvision.models.mobilenet_v3_small().eval()
    torch.save(network.state_dict(), tmp_path / 'weights.pth')
    images = torch.randint(0, 256, (2, 3, 32, 32)).float()
    rgb = torchvision.transforms.functional.normalize(images / 255, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    names = ['mobilenet_v3_small', str(tmp_path / 'weights.pth')]
    with torch.no_grad():
        expected = network(rgb)
    assert torch.allclose(tool.build_scorer(names, 'rgb')(images)[0], expected, atol=1e-4)
    assert torch.allclose(tool.build_scorer(names, 'bgr')(images.flip(1))[0], expected, atol=1e-4)


@pytest.mark.parametrize(
    'scorer, options, sentence',
    [
        (['no_such_net'], [], '--scorer no_such_net: neither a config'),
        (['gone.py', 'gone.pth'], [], '--scorer: no file .*gone.py'),
        (['gone.py'], [], 'a config and weights'),
        (['resnet18', 'gone.pth'], [], '--scorer: no file .*gone.pth'),
        (['resnet18', __file__], [], 'is no checkpoint'),
        (['resnet18', 'CKPT'], [], '--scorer resnet18: .* has not its weights'),
        (['resnet18'], ['--out', 'result.png'], '--out result.png is the name of the plot'),
        (['resnet18'], ['--pairs', '0'], '--pairs must be at least 1'),
    ],
)
def test_a_mistake_is_one_sentence_and_exit_code_2(scorer, options, sentence, tool, files, capsys):
    scorer = [files[1] if name == 'CKPT' else name for name in scorer]
    assert tool.main([*files[:2], '--scorer', *scorer, *options]) == 2
    assert re.search(sentence, capsys.readouterr().err)


def test_labels_of_other_classes_than_the_scorers_are_refused(tool, files, tmp_path, capsys):
    weights = tmp_path / 'thousand.pth'
    torch.save(torchvision.models.mobilenet_v3_small().state_dict(), weights)
    command = [*files[:2], '--scorer', 'mobilenet_v3_small', str(weights), '--num', '2', '--pairs', '1']
    assert tool.main(command) == 2
    assert 'images are of 12 classes and the scorer tells 1000: with --predicted' in capsys.readouterr().err
    assert tool.main([*command, '--predicted', '--out', str(tmp_path / 'found.json')]) == 0


def test_weights_that_cannot_be_downloaded_are_one_sentence(tool, monkeypatch, capsys, files):
    def offline(name, weights):
        raise URLError('no network')

    monkeypatch.setattr(torchvision.models, 'get_model', offline)
    assert tool.main([*map(str, files[:2]), '--scorer', 'resnet18']) == 2
    assert 'error: --scorer resnet18: no download of its weights' in capsys.readouterr().err
