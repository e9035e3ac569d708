"""tools/contrastive_test.py from a config and a checkpoint to numbers and plots."""

import importlib.util
import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from labelled_folders import make_folder
from PIL import Image

ROOT = Path(__file__).resolve().parents[2]
CONFIG = """
model = dict(
    type='viewplug.Siamese',
    backbone=dict(type='mmpretrain.ResNet', depth=18, stem_channels=8, base_channels=8, out_indices=(0, 1, 2, 3)),
    branches=dict(image=dict(
        neck=dict(type='viewplug.HCLNeck', semantic_channels=8, input_size=32, lateral_channels=8, map_stride=8),
        head=dict(type='viewplug.QueueHead', queue_len=8, loss=dict(type='viewplug.InfoNCELoss')))),
    target=dict(type='viewplug.MomentumTarget'))
data_preprocessor = dict(type='mmpretrain.SelfSupDataPreprocessor', mean=[127.5] * 3, std=[127.5] * 3)
view = [dict(type='viewplug.{crop}', scale=32), dict(type='RandomGrayscale', prob=0.2, keep_channels=True)]
train_dataloader = dict(batch_size=4, num_workers=0, collate_fn=dict(type='default_collate'), dataset=dict(
    type='viewplug.ShapeScenes', num_images=60, image_size=40,
    pipeline=[dict(type='viewplug.MultiView', num_views=2, transforms=[view]), dict(type='PackInputs')]))
default_scope = 'mmpretrain'
"""


@pytest.fixture(scope='module')
def tool():
    spec = importlib.util.spec_from_file_location('contrastive_test_tool', ROOT / 'tools/contrastive_test.py')
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope='module')
def files(tmp_path_factory):
    from mmengine import Config
    from mmengine.registry import MODELS, DefaultScope

    folder = tmp_path_factory.mktemp('run')
    config = folder / 'hcl.py'
    config.write_text(CONFIG.replace('{crop}', 'RandomResizedCrop'))
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        model = MODELS.build(Config.fromfile(config).model)
    model.init_weights()
    torch.save(dict(state_dict=model.state_dict()), folder / 'epoch_1.pth')
    return config, folder / 'epoch_1.pth'


@pytest.mark.parametrize('views', ['sample', 'device'])
def test_numbers_and_plots_lie_beside_the_checkpoint(views, tool, files, capsys):
    config, checkpoint = files
    command = [str(config), str(checkpoint), '--dims', '4', '8', 'full', '--gallery', '20', '--strengths', '0', '1']
    assert tool.main([*command, '--batch-size', '16', '--cfg-options', f'views={views}']) == 0
    folder = checkpoint.parent / 'contrastive_test'
    report = json.loads((folder / 'epoch_1.json').read_text())
    assert [result['strength'] for result in report['results']] == [0, 1]
    for result in report['results']:
        assert result['images'] == 60 and result['gallery'] == 20
        assert list(result['embeddings']) == ['image.semantic', 'image.spatial', 'image', 'backbone']
        for lengths in result['embeddings'].values():
            assert list(lengths) == ['4', '8', 'full']
            for cell in lengths.values():
                assert cell['n'] == 60 == sum(row['n'] for row in cell['by_iou'])
                assert cell['top1']['hits'] <= cell['top5']['hits']
    for name in ('iou', 'lengths', 'strengths'):
        assert np.asarray(Image.open(folder / f'epoch_1_{name}.png'))[..., :3].std() > 10
    out = capsys.readouterr().out
    assert re.search(r'image, 8: top-1 \d+\.\d\d \(\d+\.\d\d to \d+\.\d\d\), top-5', out)


def test_a_chosen_embedding_of_a_few_images_is_compared_with_another_result(tool, files, tmp_path):
    config, checkpoint = files
    command = [
        str(config),
        str(checkpoint),
        '--embeddings',
        'semantic+spatial',
        '--dims',
        '8',
        '16',
        '--num-images',
        '30',
    ]
    first = tmp_path / 'first.json'
    assert tool.main([*command, '--out', str(first)]) == 0
    second = tmp_path / 'second.json'
    options = ['--out', str(second), '--compare', f'other={first}', '--encoder', 'target', '--seed', '0']
    assert tool.main([*command, *options]) == 0
    found = [json.loads(path.read_text())['results'] for path in (first, second)]
    assert found[0][0]['images'] == found[0][0]['gallery'] == 30
    assert found[0] == found[1]  # the target starts equal to online
    assert (tmp_path / 'second_lengths.png').exists() and not (tmp_path / 'second_strengths.png').exists()


def test_networks_are_compared_on_the_views_of_one_of_their_configs(tool, files, tmp_path, capsys):
    config, checkpoint = files
    plain = tmp_path / 'plain.py'  # as HCL's second stage leaves out a step of its first
    plain.write_text(config.read_text().replace(", dict(type='RandomGrayscale', prob=0.2, keep_channels=True)", ''))
    command = [str(checkpoint), '--dims', 'full', '--strengths', '0', '1']

    def tested(name, config, *options):
        assert tool.main([str(config), *command, '--out', str(tmp_path / name), *map(str, options)]) == 0
        return json.loads((tmp_path / name).read_text())['results']

    others = tested('others.json', config)
    capsys.readouterr()
    own = tested('own.json', plain, '--compare', f'MoCo={tmp_path / "others.json"}')
    assert own[0] == others[0] and own[1]['embeddings'] != others[1]['embeddings']
    sentence = 'MoCo was tested on other views at strength [1.0]: test both with one --views CONFIG'
    assert sentence in capsys.readouterr().out
    model = ['--cfg-options', 'model.branches.image.weight=2.0']  # of CONFIG alone
    same = tested('same.json', plain, '--compare', f'MoCo={tmp_path / "others.json"}', '--views', config, *model)
    assert same == others and 'other views' not in capsys.readouterr().out


@pytest.mark.parametrize('views', ['sample', 'device'])
def test_files_that_cannot_be_read_are_not_tested(views, tool, files, tmp_path, capsys):
    folder = make_folder(tmp_path / 'images', number=4)
    for name in ('cat/0.png', 'cat/1.png', 'owl/3.png'):
        (folder / name).write_bytes(b'')
    out = tmp_path / 'found.json'
    command = [*map(str, files), '--data-root', str(folder), '--dims', 'full', '--batch-size', '4', '--out', str(out)]
    assert tool.main([*command, '--cfg-options', f'views={views}']) == 0
    (result,) = json.loads(out.read_text())['results']
    assert (result['images'], result['unreadable'], result['gallery']) == (13, 3, 13)
    assert result['embeddings']['backbone']['full']['n'] == 13
    assert '13 images (3 more cannot be read: left out), gallery' in capsys.readouterr().out


@pytest.mark.parametrize('to_rgb', [True, False], ids=['rgb', 'bgr'])  # as the network sees them
def test_pairs_are_drawn_in_the_colours_of_their_images(to_rgb, tool, files, tmp_path, monkeypatch):
    (tmp_path / 'images').mkdir()
    for name in 'abcd':
        Image.fromarray(np.full((40, 40, 3), (200, 100, 50), np.uint8)).save(tmp_path / f'images/{name}.png')
    drawn = []
    monkeypatch.setattr(tool, 'draw', lambda out, report, others, pairs: drawn.extend(pairs) or [])
    command = [*map(str, files), '--data-root', str(tmp_path / 'images'), '--dims', 'full']
    command += ['--out', str(tmp_path / 'found.json'), '--cfg-options', f'data_preprocessor.to_rgb={to_rgb}']
    assert tool.main(command) == 0 and len(drawn) == 4
    for first, second, *_ in drawn:
        for view in (first, second):
            assert (view * 255).mean(dim=(1, 2)).round().tolist() == [200, 100, 50]


def test_own_crops_are_cut_with_the_boxes_of_the_checkpoint(tool, files, tmp_path, monkeypatch, capsys):
    from viewplug.evaluation.view_pairs import ViewPairs

    config, checkpoint = files
    ours = tmp_path / 'ccrop.py'
    ours.write_text(CONFIG.replace('{crop}', 'ContrastiveCrop'))
    saved = torch.load(checkpoint)
    boxes = torch.tensor([[0.4, 0.4, 0.6, 0.6]]).repeat(60, 1)
    torch.save({**saved, 'localization': dict(lengths=[60], boxes=boxes)}, tmp_path / 'epoch_2.pth')
    restored = []
    restore = ViewPairs.restore_boxes

    def kept(self, state):
        restored.append(restore(self, state))
        return restored[-1]

    monkeypatch.setattr(ViewPairs, 'restore_boxes', kept)
    command = [str(ours), str(tmp_path / 'epoch_2.pth'), '--embeddings', 'backbone', '--dims', '4']
    assert tool.main(command) == 0 and restored == []
    assert tool.main([*command, '--own-crops']) == 0 and restored == [True]
    torch.save({**saved, 'localization': dict(lengths=[59], boxes=boxes[1:])}, tmp_path / 'epoch_2.pth')
    capsys.readouterr()
    assert tool.main([*command, '--own-crops']) == 0 and restored == [True, False]
    assert 'the boxes of the checkpoint are of other images' in capsys.readouterr().out


@pytest.mark.parametrize(
    'change, sentence',
    [
        (lambda command: ['gone.py', *command[1:]], 'no config file .*gone.py'),
        (lambda command: [command[0], 'gone.pth', *command[2:]], 'no checkpoint .*gone.pth'),
        (lambda command: [*command, '--embeddings', 'region'], "no embedding 'region'"),
        (lambda command: [*command, '--dims', '64'], r"64 components of '.*' were asked for, but it has \d+"),
        (lambda command: [*command, '--strengths', '-1'], 'strength must be at least 0'),
        (lambda command: [*command, '--compare', 'gone.json'], '--compare gone.json: no file'),
        (lambda command: [*command, '--gallery', '0'], 'gallery_size must be at least 1'),
    ],
)
def test_a_mistake_is_one_sentence_and_exit_code_2(change, sentence, tool, files, capsys):
    assert tool.main(change([str(path) for path in files])) == 2
    assert re.search(sentence, capsys.readouterr().err)


@pytest.mark.parametrize(
    ('option', 'value', 'said'),
    [
        ('--num-images', '0', '--num-images must be at least 1, got 0'),
        ('--strengths', 'nan', r'strength must be at least 0 .*got nan'),
    ],
)
def test_a_number_that_asks_for_nothing_is_refused(option, value, said, tool, files, capsys):
    assert tool.main([*map(str, files), '--dims', 'full', option, value]) == 2
    assert re.search(f'^error: {said}$', capsys.readouterr().err.splitlines()[-1])


@pytest.mark.parametrize(
    ('text', 'reason'),
    [('{"results": [', r' \(Expecting value: line 1 .*\)'), ('{"top1": 3}', ''), ('[]', ''), ('{"results": [3]}', '')],
)
def test_a_comparison_with_something_else_names_its_file(text, reason, tool, files, tmp_path, capsys):
    other = tmp_path / 'other.json'
    other.write_text(text)
    assert tool.main([*map(str, files), '--compare', f'MoCo={other}']) == 2
    asked = rf'^error: --compare MoCo={other}: {other} is no result of tools/contrastive_test.py{reason}; give the JSON'
    assert re.match(asked, capsys.readouterr().err.splitlines()[-1])
