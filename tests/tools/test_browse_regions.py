"""tools/browse_regions.py from a config to a sheet."""

import argparse
import importlib.util
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine import Config
from PIL import Image

ROOT = Path(__file__).resolve().parents[2]
CONFIG = """
model = dict(
    type='viewplug.Siamese',
    backbone=dict(type='mmpretrain.ResNet', depth=18, out_indices=(0, 1, 2, 3)),
    branches=dict(
        image=dict(neck=dict(type='viewplug.MLPNeck', out_channels=8),
                   head=dict(type='viewplug.PredictHead', predictor=dict(type='viewplug.MLPNeck'))),
        region=dict(neck=dict(type='viewplug.RegionNeck', stages=('C3', 'C4'), out_channels=16),
                    head=dict(type='viewplug.RegionHead', window=(16, 24), stride=(8, 16), downsample=(8, 16),
                              input_size=64, loss=dict(type='viewplug.CosineLoss'),
                              predictor=dict(type='viewplug.MLPNeck', hidden_channels=8)))),
    target=dict(type='viewplug.StopGradTarget'), online_views=(0, 1), target_views=(0, 1))
data_preprocessor = dict(mean=[120, 110, 100], std=[60, 50, 40], to_rgb=True)
view = [dict(type='viewplug.RandomResizedCrop', scale=64, crop_ratio_range=(0.3, 1.0), backend='pillow')]
pack = dict(type='PackInputs', meta_keys=('sample_idx', 'crop_box', 'flip'))
train_dataloader = dict(batch_size=2, num_workers=0, collate_fn=dict(type='default_collate'), dataset=dict(
    type='viewplug.ShapeScenes', num_images=20, image_size=80,
    pipeline=[dict(type='viewplug.MultiView', num_views=2, transforms=[view], shared_flip=0.5), pack]))
default_scope = 'mmpretrain'
"""


@pytest.fixture(scope='module')
def tool():
    spec = importlib.util.spec_from_file_location('browse_regions', ROOT / 'tools/browse_regions.py')
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def config(tmp_path):
    path = tmp_path / 'config.py'
    path.write_text(CONFIG)
    return path


@pytest.mark.parametrize('views', ['sample', 'device'])
def test_a_sheet_is_written_however_views_are_made_and_the_seed_decides_it(views, tool, config, tmp_path, capsys):
    sheets = []
    for seed in (0, 0, 1):
        out = tmp_path / f'sheets/{len(sheets)}.png'
        options = ['--out', str(out), '--num', '3', '--seed', str(seed), '--cfg-options', f'views={views}']
        assert tool.main([str(config), *options]) == 0
        sheets.append(np.asarray(Image.open(out)))
    assert re.search(r'3 images, windows that count: stride 8: \d+ \d+ \d+; stride 16: \d+', capsys.readouterr().out)
    assert sheets[0].shape[0] > 3 * 192 and sheets[0].shape[1] > 5 * 192
    assert (sheets[0] == sheets[1]).all() and (sheets[0] != sheets[2]).any()


@pytest.mark.parametrize('to_rgb', [True, False], ids=['rgb', 'bgr'])  # as the network sees them
@pytest.mark.parametrize('views', ['sample', 'device'])
def test_views_are_the_pixels_of_their_boxes_in_the_colours_of_the_image(views, to_rgb, tool, config, tmp_path):
    from mmengine.registry import init_default_scope

    from viewplug.run.launch import read_config

    # Red says how far right a pixel is, green how far down.
    height, width = 90, 120
    down, right = np.meshgrid((np.arange(height) + 0.5) / height, (np.arange(width) + 0.5) / width, indexing='ij')
    pixels = np.stack([right * 255, down * 255, np.full_like(down, 20)], axis=-1).round().astype(np.uint8)
    (tmp_path / 'images').mkdir()
    for index in range(6):
        Image.fromarray(pixels).save(tmp_path / f'images/{index}.png')
    args = dict(config=str(config), demo=False, data_root=str(tmp_path / 'images'), num=6, epochs=None, amp=None)
    args = argparse.Namespace(**args, launcher='none', work_dir=None, cfg_options=dict(views=views))
    config.write_text(CONFIG.replace('to_rgb=True', f'to_rgb={to_rgb}'))
    cfg = read_config(str(config), args)
    init_default_scope('mmpretrain')
    images, made, geometry = tool.images_and_views(cfg, args)
    assert len(images) == 6
    np.testing.assert_allclose(images[0].numpy().transpose(1, 2, 0) * 255, pixels, atol=0.01)
    assert geometry.flips.any() and not geometry.flips.all()
    along = (torch.arange(64) + 0.5) / 64
    inner = slice(6, -6)  # beyond its border a crop is blurred with itself
    for view in (0, 1):
        for n in range(6):
            x0, y0, x1, y1 = geometry.boxes[n, view].tolist()
            across = along.flip(0) if geometry.flips[n, view] else along
            assert (made[view][n, 0].mean(dim=0) - (x0 + across * (x1 - x0)))[inner].abs().max() < 0.012
            assert (made[view][n, 1].mean(dim=1) - (y0 + along * (y1 - y0)))[inner].abs().max() < 0.012
            assert (made[view][n, 2] - 20 / 255).abs().max() < 0.01


def test_the_demo_of_a_config_needs_no_data(tool, tmp_path, capsys):
    out = tmp_path / 'demo.png'
    config = ROOT / 'configs/resim/mocov2_ccrop_hcl_resim_r50.py'
    assert tool.main([str(config), '--demo', '--num', '2', '--out', str(out)]) == 0
    assert '2 images, windows that count: stride 4' in capsys.readouterr().out and out.is_file()


@pytest.mark.parametrize('kind', ['viewplug.RegionHead', 'RegionHead'])
def test_region_heads_are_found_by_either_name(kind, tool):
    head = dict(type=kind, window=32, stride=16, downsample=8, input_size=96)
    cfg = Config(dict(model=dict(branches=dict(any_name=dict(neck=dict(), head=head)))))
    (grid,) = tool.grids_of(cfg, 'config.py')
    assert (grid.window, grid.stride, grid.downsample, grid.input_size) == (32, 16, 8, 96)


@pytest.mark.parametrize(
    'old, new, options, sentence',
    [
        ('', '', ['--num', '0'], '--num must be at least 1, got 0'),
        ('', '', ['--num-windows', '13'], 'num_windows must lie in 1 to 12, got 13'),
        ('', '', ['--data-root', 'no/such/folder'], 'no folder .*no/such/folder'),
        ('input_size=64', 'input_size=96', [], r'input_size=96 .* \(64, 64\)'),
        ('viewplug.RegionHead', 'viewplug.PredictHead', [], r'no viewplug.RegionHead in .*branches: image, region'),
        ('viewplug.RandomResizedCrop', 'RandomResizedCrop', [], 'no two views that say where they were cut'),
        ("'crop_box', ", '', [], 'no two views that say where they were cut'),
    ],
)
def test_a_mistake_is_one_sentence_and_exit_code_2(old, new, options, sentence, tool, config, tmp_path, capsys):
    assert old in CONFIG
    config.write_text(CONFIG.replace(old, new) if old else CONFIG)
    assert tool.main([str(config), '--out', str(tmp_path / 'sheet.png'), *options]) == 2
    assert re.search(sentence, capsys.readouterr().err)
    assert not (tmp_path / 'sheet.png').exists()


def test_a_config_that_is_not_there_and_a_model_without_branches_are_named(tool, tmp_path, capsys):
    assert tool.main(['gone.py', '--out', str(tmp_path / 'sheet.png')]) == 2
    assert re.search('no config file .*gone.py', capsys.readouterr().err)
    (tmp_path / 'stock.py').write_text(
        "model = dict(type='mmpretrain.MoCo')\ntrain_dataloader = dict(dataset=dict())\n"
    )
    assert tool.main([str(tmp_path / 'stock.py')]) == 2
    assert 'model.branches: none' in capsys.readouterr().err
