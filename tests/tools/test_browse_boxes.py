"""tools/browse_boxes.py from a config and a checkpoint to a sheet."""

import importlib.util
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

ROOT = Path(__file__).resolve().parents[2]
CONFIG = """
model = dict(
    type='viewplug.Siamese',
    backbone=dict(type='mmpretrain.ResNet', depth=18, stem_channels=8, base_channels=8),
    branches=dict(image=dict(
        neck=dict(type='viewplug.MLPNeck', out_channels=8),
        head=dict(type='viewplug.QueueHead', queue_len=8, feat_dim=8, loss=dict(type='viewplug.InfoNCELoss')))),
    target=dict(type='viewplug.MomentumTarget'))
data_preprocessor = dict(mean=[127.5] * 3, std=[127.5] * 3, to_rgb=True)
view = [dict(type='{crop}', scale=64), dict(type='mmpretrain.RandomFlip', prob=0.5)]
train_dataloader = dict(dataset=dict(
    type='viewplug.ShapeScenes', num_images=10, image_size=48,
    pipeline=[dict(type='viewplug.MultiView', num_views=2, transforms=[view]), dict(type='mmpretrain.PackInputs')]))
custom_hooks = [dict(type='viewplug.LocalizationHook', start=2, interval=1, threshold=0.6, encoder='target')]
default_scope = 'mmpretrain'
"""


@pytest.fixture(scope='module')
def tool():
    spec = importlib.util.spec_from_file_location('browse_boxes', ROOT / 'tools/browse_boxes.py')
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def files(tmp_path):
    """A config with ContrastiveCrop, one without, and a checkpoint of both."""
    from mmengine import Config
    from mmengine.registry import MODELS, DefaultScope

    for crop in ('viewplug.ContrastiveCrop', 'mmpretrain.RandomResizedCrop'):
        (tmp_path / f'{crop[-4:]}_{len(crop)}.py').write_text(CONFIG.format(crop=crop))
    ours, stock = sorted(tmp_path.glob('*.py'), key=lambda path: 'ContrastiveCrop' not in path.read_text())
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        model = MODELS.build(Config.fromfile(ours).model)
    model.init_weights()
    torch.save(dict(state_dict=model.state_dict()), tmp_path / 'epoch_1.pth')
    return ours, stock, tmp_path / 'epoch_1.pth'


def test_a_sheet_is_written_for_ours_and_for_configs_without_contrastive_crop(tool, files, tmp_path, capsys):
    ours, stock, checkpoint = files
    for config in (ours, stock):
        out = tmp_path / f'sheets/{config.stem}.png'
        assert tool.main([str(config), str(checkpoint), '--out', str(out), '--num', '3']) == 0
        assert np.asarray(Image.open(out)).shape[0] > 3 * 96
    assert '3 images' in capsys.readouterr().out


def test_settings_are_the_hooks_unless_given(tool, files, tmp_path, monkeypatch):
    from viewplug.evaluation import localization

    seen = []
    found = localization.localise_batches

    def spy(model, batches, **settings):
        online = settings['backbone'] is model.backbone
        seen.append((settings.get('threshold'), settings.get('adaptive'), online))
        return found(model, batches, **settings)

    monkeypatch.setattr(localization, 'localise_batches', spy)
    config, _, checkpoint = files
    command = [str(config), str(checkpoint), '--out', str(tmp_path / 'sheet.png'), '--num', '1']
    assert tool.main(command) == 0
    assert tool.main([*command, '--threshold', '0.2', '--encoder', 'online', '--adaptive-threshold', 'otsu']) == 0
    assert seen == [(0.6, None, False), (0.2, 'otsu', True)]


def test_a_folder_of_images_can_be_drawn_instead(tool, files, tmp_path):
    folder = tmp_path / 'images'
    folder.mkdir()
    for index in range(2):
        Image.fromarray(np.full((30, 40, 3), (200, 0, 0), np.uint8)).save(folder / f'{index}.png')
    config, _, checkpoint = files
    out = tmp_path / 'sheet.png'
    assert tool.main([str(config), str(checkpoint), '--out', str(out), '--data-root', str(folder)]) == 0
    red = (np.asarray(Image.open(out)) == [200, 0, 0]).all(axis=-1).sum()
    assert red > 2 * 5 * 96 * 96 * 0.8  # outlines and heat maps aside


def test_images_that_cannot_be_read_are_counted_apart_and_not_drawn(tool, files, tmp_path, capsys):
    folder = tmp_path / 'images'
    folder.mkdir()
    (folder / '0.png').write_bytes(b'no image')
    for index in (1, 2):
        Image.fromarray(np.full((30, 40, 3), 200, np.uint8)).save(folder / f'{index}.png')
    config, _, checkpoint = files
    command = [str(config), str(checkpoint), '--out', str(tmp_path / 'sheet.png'), '--data-root', str(folder)]
    assert tool.main(command) == 0
    assert re.search(r'2 images \(1 more cannot be read: left out\), [012] of their boxes', capsys.readouterr().out)
    height = np.asarray(Image.open(tmp_path / 'sheet.png')).shape[0]
    (folder / '0.png').unlink()
    assert tool.main(command) == 0
    assert np.asarray(Image.open(tmp_path / 'sheet.png')).shape[0] == height
    (folder / '0.png').write_bytes(b'no image')
    assert tool.main([*command, '--num', '1']) == 2
    assert 'none of the 1 images picked can be read' in capsys.readouterr().err


@pytest.mark.parametrize(
    'change, sentence',
    [
        (lambda command: ['gone.py', *command[1:]], 'no file .*gone.py'),
        (lambda command: [command[0], 'gone.pth', *command[2:]], 'no file .*gone.pth'),
        (lambda command: [*command, '--threshold', '1.5'], 'threshold must lie in'),
        (lambda command: [*command, '--heatmap', 'attention'], "heatmap='attention'"),
        (lambda command: [*command, '--num', '0'], '--num'),
        (lambda command: [*command, '--cfg-options', 'model.backbone.depth=34'], 'lacks .* of the model'),
        (lambda command: [*command, '--cfg-options', 'model.backbone.base_channels=4'], 'does not fit model'),
    ],
)
def test_a_mistake_is_one_sentence_and_exit_code_2(change, sentence, tool, files, tmp_path, capsys):
    config, _, checkpoint = files
    command = change([str(config), str(checkpoint), '--out', str(tmp_path / 'sheet.png')])
    assert tool.main(command) == 2
    assert re.search(sentence, capsys.readouterr().err)


def test_a_pipeline_without_a_random_crop_is_named(tool, files, tmp_path, capsys):
    config, _, checkpoint = files
    text = config.read_text().replace('viewplug.ContrastiveCrop', 'mmpretrain.CenterCrop')
    config.write_text(text.replace('scale', 'crop_size'))
    assert tool.main([str(config), str(checkpoint), '--out', str(tmp_path / 'sheet.png')]) == 2
    assert 'no random resized crop in the train pipeline' in capsys.readouterr().err


def test_a_demos_checkpoint_is_drawn_on_the_demos_images(tool, tmp_path):
    from mmengine.registry import MODELS, DefaultScope
    from train_runs import demo

    from viewplug.run.launch import read_config

    config = 'configs/contrastive_crop/cifar10/moco_ccrop.py'
    cfg = read_config(ROOT / config, demo(config, tmp_path))
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        torch.save(dict(state_dict=MODELS.build(cfg.model).state_dict()), tmp_path / 'epoch_1.pth')
    options = [f'model.backbone.{key}=4' for key in ('base_channels', 'stem_channels')]
    options += ['model.branches.image.head.queue_len=20', 'train_dataloader.dataset.num_images=24']
    command = [str(ROOT / config), str(tmp_path / 'epoch_1.pth'), '--demo', '--out', str(tmp_path / 'sheet.png')]
    assert tool.main([*command, '--num', '2', '--cfg-options', *options]) == 0
    assert np.asarray(Image.open(tmp_path / 'sheet.png')).std() > 10
