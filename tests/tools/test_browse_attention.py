"""tools/browse_attention.py from a work dir, or a config and a checkpoint, to a sheet."""

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
    backbone=dict(type='{backbone}', model_name='vit_tiny_patch16_224', img_size=32, patch_size=8, embed_dim=24,
                  depth=2, num_heads=3, mask_token=True),
    branches=dict(image=dict(
        neck=dict(type='viewplug.MLPNeck', out_channels=8),
        head=dict(type='viewplug.QueueHead', queue_len=8, loss=dict(type='viewplug.InfoNCELoss')))),
    target=dict(type='viewplug.MomentumTarget'))
data_preprocessor = dict(type='viewplug.ViewsDataPreprocessor', mean=[127.5] * 3, std=[60] * 3, to_rgb=True)
view = [dict(type='viewplug.RandomResizedCrop', scale=32)]
mirror = [dict(type='mmpretrain.RandomFlip', prob=1.0)]
train_dataloader = dict(batch_size=2, dataset=dict(
    type='viewplug.ShapeScenes', num_images=10, image_size=48,
    pipeline=[dict(type='viewplug.QueryCrops', num=3, scale=8, transforms=mirror),
              dict(type='viewplug.BlockMasks', grid=4),
              dict(type='viewplug.MultiView', num_views=2, transforms=[view]), dict(type='viewplug.PackViews')]))
default_scope = 'mmpretrain'
"""


@pytest.fixture(scope='module')
def tool():
    spec = importlib.util.spec_from_file_location('browse_attention', ROOT / 'tools/browse_attention.py')
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def work_dir(tmp_path):
    """What a run leaves: its config, a checkpoint, last_checkpoint; online and target differ."""
    from mmengine import Config
    from mmengine.registry import MODELS, DefaultScope

    folder = tmp_path / 'run'
    folder.mkdir()
    path = folder / 'config.py'
    path.write_text(CONFIG.format(backbone='viewplug.QueryViT'))
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        model = MODELS.build(Config.fromfile(path).model)
    model.init_weights()
    with torch.no_grad():
        for parameter in model.backbone.blocks.parameters():
            parameter += 0.3 * torch.randn_like(parameter)
    torch.save(dict(state_dict=model.state_dict()), folder / 'epoch_1.pth')
    (folder / 'last_checkpoint').write_text(str(folder / 'epoch_1.pth'))
    return folder


def pixels_of(tool, path, *command):
    assert tool.main([*map(str, command), '--out', str(path)]) == 0
    return np.asarray(Image.open(path)).astype(int)


def test_a_work_dir_and_its_config_and_checkpoint_give_the_same_sheet(tool, work_dir, tmp_path, capsys):
    out = tmp_path / 'sheets/sheet.png'
    first = pixels_of(tool, out, work_dir, '--num', 2)
    assert '2 images of 32 px, 3 queries each' in capsys.readouterr().out
    second = pixels_of(tool, out, work_dir / 'config.py', work_dir / 'epoch_1.pth', '--num', 2)
    assert np.array_equal(first, second)
    assert first.shape[0] > 2 * 160 and 5 * 160 < first.shape[1] < 6 * 160
    assert not np.array_equal(first, pixels_of(tool, out, work_dir, '--num', 2, '--seed', 1))
    assert not np.array_equal(first, pixels_of(tool, out, work_dir, '--num', 2, '--encoder', 'target'))


def test_a_run_whose_views_were_made_in_batch_is_read_too(tool, work_dir, tmp_path):
    from mmengine import Config

    from viewplug.batch_views import to_device_views

    expected = pixels_of(tool, tmp_path / 'a.png', work_dir, '--num', 1)
    cfg = Config.fromfile(work_dir / 'config.py')
    to_device_views(cfg, in_memory=True)
    (work_dir / 'config.py').unlink()
    cfg.dump(work_dir / 'dumped.py')
    assert np.array_equal(expected, pixels_of(tool, tmp_path / 'b.png', work_dir, '--num', 1))


def test_each_head_has_a_row_and_queries_a_column(tool, work_dir, tmp_path):
    mean = pixels_of(tool, tmp_path / 'a.png', work_dir, '--num', 1, '--num-queries', 2)
    each = pixels_of(tool, tmp_path / 'b.png', work_dir, '--num', 1, '--num-queries', 2, '--heads', 'each')
    assert mean.shape[1] == each.shape[1] and each.shape[0] > 2.5 * mean.shape[0]


def test_a_folder_of_images_can_be_drawn_instead(tool, work_dir, tmp_path):
    folder = tmp_path / 'images'
    folder.mkdir()
    for index in range(2):
        Image.fromarray(np.full((30, 40, 3), (200, 0, 0), np.uint8)).save(folder / f'{index}.png')
    sheet = pixels_of(tool, tmp_path / 'sheet.png', work_dir, '--data-root', folder)
    assert (sheet == [200, 0, 0]).all(axis=-1).sum() > 2 * 160 * 160 * 0.6  # frames aside


@pytest.mark.parametrize(
    'change, sentence',
    [
        (lambda folder: ['gone.py', 'gone.pth'], 'no file .*gone.py'),
        (lambda folder: [folder / 'config.py', 'gone.pth'], 'no file .*gone.pth'),
        (lambda folder: [folder / 'config.py'], 'no work dir: give CONFIG and CHECKPOINT'),
        (lambda folder: [folder.parent], 'holds no config'),
        (lambda folder: [folder, '--num', 0], '--num must be at least 1'),
        (lambda folder: [folder, '--num-queries', 13], '--num-queries must lie in 1 to 12, got 13'),
        (lambda folder: [folder, '--size', 30], r'30\) px are no whole number of patches'),
        (lambda folder: [folder, '--cfg-options', 'model.backbone.depth=3'], 'lacks .* of the model'),
        (
            lambda folder: [folder, '--cfg-options', 'model.backbone.type=mmpretrain.ResNet'],
            'reads a viewplug.QueryViT',
        ),
    ],
)
def test_a_mistake_is_one_sentence_and_exit_code_2(change, sentence, tool, work_dir, tmp_path, capsys):
    command = [str(part) for part in change(work_dir)]
    assert tool.main([*command, '--out', str(tmp_path / 'sheet.png')]) == 2
    assert re.search(sentence, capsys.readouterr().err)
