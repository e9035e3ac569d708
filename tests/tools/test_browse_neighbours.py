"""tools/browse_neighbours.py from a config and a checkpoint to a sheet."""

import importlib.util
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
        neck=dict(type='viewplug.MLPNeck', out_channels=8),
        head=dict(type='viewplug.QueueHead', queue_len=8, loss=dict(type='viewplug.InfoNCELoss')))),
    target=dict(type='viewplug.MomentumTarget'))
data_preprocessor = dict(type='mmpretrain.SelfSupDataPreprocessor', mean=[127.5] * 3, std=[127.5] * 3, to_rgb=True)
view = [dict(type='viewplug.RandomResizedCrop', scale=32)]
train_dataloader = dict(batch_size=4, num_workers=0, collate_fn=dict(type='default_collate'), dataset=dict(
    type='viewplug.ShapeScenes', num_images=30, image_size=40,
    pipeline=[dict(type='viewplug.MultiView', num_views=2, transforms=[view]), dict(type='PackInputs')]))
pipeline = [dict(type='Resize', scale=(32, 32)), dict(type='PackInputs')]
labelled = dict(type='viewplug.ShapeScenes', image_size=40, pipeline=pipeline)
custom_hooks = [dict(
    type='viewplug.KNNHook',
    train_dataloader=dict(batch_size=5, dataset=dict(split='train', num_images=25, **labelled)),
    val_dataloader=dict(batch_size=5, dataset=dict(split='val', num_images=9, **labelled)))]
default_scope = 'mmpretrain'
"""


@pytest.fixture(scope='module')
def tool():
    spec = importlib.util.spec_from_file_location('browse_neighbours', ROOT / 'tools/browse_neighbours.py')
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope='module')
def files(tmp_path_factory):
    from mmengine import Config
    from mmengine.registry import MODELS, DefaultScope

    folder = tmp_path_factory.mktemp('run')
    (folder / 'moco.py').write_text(CONFIG)
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        model = MODELS.build(Config.fromfile(folder / 'moco.py').model)
    model.init_weights()
    torch.save(dict(state_dict=model.state_dict()), folder / 'epoch_1.pth')
    return folder / 'moco.py', folder / 'epoch_1.pth'


def test_the_knn_hooks_images_are_drawn_beside_the_checkpoint_for_the_report(tool, files, capsys):
    assert tool.main([*map(str, files), '--num', '3', '--neighbours', '4']) == 0
    out = files[1].parent / 'vis_neighbours/epoch_1.png'
    assert np.asarray(Image.open(out)).shape[1] > 5 * 64
    said = capsys.readouterr().out
    assert re.search(r'3 images, 4 neighbours each among 25, \d+% of the neighbours of the same class', said)


def test_a_query_is_not_its_own_neighbour(tool, files, tmp_path, monkeypatch):
    from viewplug.visualization import neighbour_sheet

    drawn = []
    monkeypatch.setattr(
        neighbour_sheet, 'draw_neighbours', lambda *args: drawn.append(args) or Image.new('RGB', (1, 1))
    )
    options = ['--num', '5', '--neighbours', '3', '--embedding', 'image', '--out', str(tmp_path / 'sheet.png')]
    assert tool.main([*map(str, files), *options, '--cfg-options', 'custom_hooks=[]']) == 0
    queries, near, similarity, labels, near_labels, _ = drawn[0]
    assert queries.shape == (5, 3, 32, 32) and near.shape == (5, 3, 3, 32, 32) and len(labels) == 5
    assert (near - queries[:, None]).abs().amax(dim=(2, 3, 4)).min() > 0
    assert (similarity.diff(dim=1) <= 0).all() and similarity.max() <= 1 + 1e-5


@pytest.mark.parametrize('to_rgb', [True, False], ids=['rgb', 'bgr'])  # as the network sees them
def test_a_folder_of_images_is_searched_in_its_own_colours(to_rgb, tool, files, tmp_path, monkeypatch):
    from viewplug.visualization import neighbour_sheet

    folder = tmp_path / 'images'
    folder.mkdir()
    for index in range(6):
        pixels = np.random.RandomState(index // 2).randint(0, 80, (36, 44, 3)).astype(np.uint8)
        pixels[..., 0] += 150
        Image.fromarray(np.roll(pixels, index % 2, axis=0)).save(folder / f'{index}.png')
    drawn = []
    monkeypatch.setattr(
        neighbour_sheet, 'draw_neighbours', lambda *args: drawn.append(args) or Image.new('RGB', (1, 1))
    )
    options = ['--data-root', str(folder), '--neighbours', '20', '--out', str(tmp_path / 'sheet.png')]
    options += ['--cfg-options', f'data_preprocessor.to_rgb={to_rgb}']
    assert tool.main([*map(str, files), *options]) == 0
    queries, near, similarity, labels, *_ = drawn[0]
    assert near.shape[:2] == (6, 5) and labels is None
    assert (queries[:, 0].mean() - queries[:, 2].mean()) > 0.4  # red stays red


def test_files_that_cannot_be_read_are_no_neighbours_and_no_queries(tool, files, tmp_path, monkeypatch, capsys):
    from viewplug.visualization import neighbour_sheet

    folder = make_folder(tmp_path / 'images', ('cat', 'dog'))
    for name in ('cat/0.png', 'dog/2.png'):
        (folder / name).write_bytes(b'')
    drawn = []
    monkeypatch.setattr(
        neighbour_sheet, 'draw_neighbours', lambda *args: drawn.append(args) or Image.new('RGB', (1, 1))
    )
    options = ['--data-root', str(folder), '--neighbours', '20', '--out', str(tmp_path / 'sheet.png')]
    assert tool.main([*map(str, files), *options]) == 0
    queries, near, similarity, *_ = drawn[0]
    assert near.shape[:2] == (4, 3)
    assert (near - queries[:, None]).abs().amax(dim=(2, 3, 4)).min() > 0
    assert '2 of 6 images of the bank cannot be read: they are left out' in capsys.readouterr().out


@pytest.mark.parametrize(
    'change, sentence',
    [
        (lambda command: [command[0], 'gone.pth'], 'no checkpoint .*gone.pth'),
        (lambda command: [*command, '--num', '0'], '--num must be at least 1'),
        (lambda command: [*command, '--embedding', 'spatial'], "no embedding 'spatial'"),
        (lambda command: [*command, '--bank', '1', '--cfg-options', 'custom_hooks=[]'], 'none to be a neighbour'),
    ],
)
def test_a_mistake_is_one_sentence_and_exit_code_2(change, sentence, tool, files, capsys):
    assert tool.main(change([str(path) for path in files])) == 2
    assert re.search(sentence, capsys.readouterr().err)
