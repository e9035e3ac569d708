"""Fashion-MNIST's cells are ContrastiveCrop's CIFAR-10 ones on other data, and nothing of their colours is lost."""

from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine import Config
from mmengine.dataset import Compose
from mmengine.registry import MODELS, DefaultScope

from viewplug.batch_views import View, to_device_views
from viewplug.views import ViewGeometry

CONFIGS = Path(__file__).resolve().parents[2] / 'configs'
METHODS = ('simclr', 'moco', 'byol', 'simsiam')
CELLS = [f'{method}_{crop}' for method in METHODS for crop in ('rcrop', 'ccrop')]


def read(cell: str, folder: str = 'fashion_mnist') -> Config:
    return Config.fromfile(CONFIGS / folder / f'{cell}.py')


def test_there_is_a_config_for_each_cell_beside_mocov2_and_hcl():
    found = {path.stem for path in CONFIGS.glob('fashion_mnist/*.py')}
    assert found == {*CELLS, 'mocov2_r18', 'mocov2_hcl_r18'}


@pytest.mark.parametrize('cell', CELLS)
def test_a_cell_has_the_settings_of_cifar_10s(cell):
    mine, cifar = read(cell), read(cell, 'contrastive_crop/cifar10')
    for key in ('model', 'optim_wrapper', 'param_scheduler', 'train_cfg', 'auto_scale_lr', 'localization'):
        assert mine[key] == cifar[key]
    assert mine.train_dataloader.batch_size == cifar.train_dataloader.batch_size == 512
    assert [hook.type for hook in mine.custom_hooks] == [hook.type for hook in cifar.custom_hooks]
    crops = [cfg.train_dataloader.dataset.pipeline[0].transforms[0][0] for cfg in (mine, cifar)]
    assert crops[0] == crops[1]
    assert mine.train_dataloader.dataset.type == 'viewplug.FashionMNIST'


@pytest.mark.parametrize('cell', CELLS)
def test_every_pipeline_builds_and_gives_two_views_with_their_geometry(cell):
    cfg = read(cell)
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        transform = Compose(cfg.train_dataloader.dataset.pipeline)
    image = np.random.default_rng(0).integers(0, 256, (28, 28, 3), dtype=np.uint8)
    sample = transform(dict(img=image, sample_idx=0, img_shape=(28, 28), ori_shape=(28, 28)))
    assert [tuple(view.shape) for view in sample['inputs']] == [(3, 32, 32)] * 2
    assert ViewGeometry.from_samples([sample['data_samples']], 'cpu').boxes.shape == (1, 2, 4)


@pytest.mark.parametrize('method', METHODS)
def test_every_network_builds(method):
    model = read(f'{method}_rcrop').model
    if 'queue_len' in model.branches.image.head:
        model.branches.image.head.queue_len = 8
    assert MODELS.build(model).backbone.depth == 18


@pytest.mark.parametrize('cell', CELLS[:2])
def test_views_can_be_made_in_batch_from_memory(cell):
    cfg = read(cell)
    to_device_views(cfg, in_memory=True)
    assert cfg.train_dataloader.dataset.type == 'viewplug.InMemoryDataset'
    views = View(cfg.data_preprocessor.transforms[0])(torch.zeros(3, 3, 28, 28, dtype=torch.uint8))[0]
    assert views.shape == (3, 3, 32, 32)


def test_what_is_left_out_of_cifars_colours_changes_nothing_on_three_equal_channels():
    grey = torch.randint(0, 256, (40, 1, 28, 28), dtype=torch.uint8).repeat(1, 3, 1, 1)
    cut = dict(type='Resize', scale=32)
    jitter, grayscale = read('simclr_rcrop', 'contrastive_crop/cifar10').after_crop[:2]
    rest = dict(jitter.transforms[0], brightness=0, contrast=0)
    found = View([cut, rest, dict(grayscale, prob=1.0)])(grey)[0]
    assert torch.allclose(found, View([cut])(grey)[0], atol=0.05)  # weights of gray sum to 0.9999
    (kept,) = read('simclr_rcrop').after_crop[0].transforms
    assert (kept.brightness, kept.contrast) == (jitter.transforms[0].brightness, jitter.transforms[0].contrast)
