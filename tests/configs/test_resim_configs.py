"""ReSim's configs have the paper's settings and build."""

import re
from functools import lru_cache
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine import Config
from mmengine.dataset import Compose
from mmengine.registry import MODELS, DefaultScope
from toys import total

from viewplug.run.demo import to_demo
from viewplug.views import ViewGeometry

CONFIGS = Path(__file__).resolve().parents[2] / 'configs/resim'
PAPER = [
    f'resim_{form}_{method}_r50{data}'
    for form in ('c4', 'fpn')
    for method in ('mocov2', 'simsiam')
    for data in ('', '_in100')
]
OURS = ['mocov2_hcl_resim_r50', 'mocov2_ccrop_hcl_resim_r50', 'resim_c4_r18_cifar10', 'resim_fpn_r18_cifar10']
BASELINE = 'mocov2_r50_in100'


@lru_cache
def read(name: str) -> Config:
    return Config.fromfile(CONFIGS / f'{name}.py')


def test_there_is_a_config_for_each_row_and_no_other():
    assert {path.stem for path in CONFIGS.glob('*.py')} == {*PAPER, *OURS, BASELINE}


@pytest.mark.parametrize('name', [*PAPER, *OURS])
def test_views_are_mirrored_together_and_say_where_they_were_cut(name):
    steps = [step for step in read(name).train_dataloader.dataset.pipeline if not step.type.startswith('Load')]
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        transform = Compose(steps)
    image = np.random.default_rng(0).integers(0, 256, (60, 80, 3), dtype=np.uint8)
    sample = dict(img=image, sample_idx=0, img_shape=image.shape[:2], ori_shape=image.shape[:2])
    flips = [ViewGeometry.from_samples([transform(dict(sample))['data_samples']]).flips[0].tolist() for _ in range(16)]
    assert [True, True] in flips and [False, False] in flips and all(a == b for a, b in flips)


@pytest.mark.parametrize('name', ['resim_c4_mocov2_r50_in100', 'resim_fpn_mocov2_r50_in100'])
def test_loader_workers_do_nothing_more_for_regions_than_for_moco(name):
    """Windows are mapped in batch on the device; a sample has the same steps and flips once in place of twice."""
    baseline, regions = (read(one).train_dataloader.dataset.pipeline for one in (BASELINE, name))
    views, shared = baseline[1].to_dict(), regions[1].to_dict()
    (steps,), (shared_steps,) = views.pop('transforms'), shared.pop('transforms')
    assert steps.pop() == dict(type='RandomFlip', prob=0.5) and shared.pop('shared_flip') == 0.5
    assert (steps, views) == (shared_steps, shared)
    assert baseline[0] == regions[0] and baseline[2:] == regions[2:]
    assert read(BASELINE).data_preprocessor == read(name).data_preprocessor


@pytest.mark.parametrize('name', PAPER)
def test_settings_are_those_of_section_4_and_table_7(name):
    cfg = read(name)
    optimizer, region = cfg.optim_wrapper.optimizer, cfg.model.branches.region
    epochs, simsiam = (500 if 'in100' in name else 200), 'simsiam' in name
    assert (optimizer.type, optimizer.momentum, optimizer.weight_decay) == ('SGD', 0.9, 1e-4)
    assert optimizer.lr == (0.1 if simsiam else 0.03) and 8 * cfg.train_dataloader.batch_size == 256
    schedule = cfg.param_scheduler[0]
    assert (schedule.type, schedule.T_max, schedule.end, cfg.train_cfg.max_epochs) == (
        'CosineAnnealingLR',
        *[epochs] * 3,
    )
    kind = 'viewplug.ClassSubset' if 'in100' in name else 'viewplug.ImageFolder'
    assert cfg.train_dataloader.dataset.type == cfg.knn_hook.val_dataloader.dataset.type == kind
    if 'in100' in name:
        classes = Path(cfg.train_dataloader.dataset.classes_file).read_text().split()
        assert len(set(classes)) == 100 and all(re.fullmatch(r'n\d{8}', folder) for folder in classes)
    if not simsiam:
        assert cfg.model.branches.image.head.queue_len == (16384 if 'in100' in name else 65536)
        assert region.head.loss.temperature == cfg.model.branches.image.head.loss.temperature == 0.2
        assert cfg.model.target.momentum == 0.999
    fixed = cfg.optim_wrapper.get('paramwise_cfg', {}).get('custom_keys', {}).get('predictor', {})
    assert fixed == (dict(fix_lr=True) if simsiam else {})


@pytest.mark.parametrize(
    'name, widths, predictors',
    [
        ('resim_c4_mocov2_r50', [(1024, 128, 128)], None),
        ('resim_fpn_mocov2_r50', [(256, 128, 128)] * 2, None),
        ('resim_c4_simsiam_r50', [(1024, 1024, 1024)], [(1024, 256, 1024)]),
        ('resim_fpn_simsiam_r50', [(256, 512, 512), (256, 1024, 1024)], [(512, 128, 512), (1024, 256, 1024)]),
    ],
)
def test_models_build_with_table_7s_widths_and_the_papers_windows(name, widths, predictors):
    cfg = read(name).model.copy()
    if 'queue_len' in cfg.branches.image.head:
        cfg.branches.image.head.queue_len = 8
    region = MODELS.build(cfg).branches['region']
    shapes = [[layer.conv.weight.shape for layer in projection] for projection in region.neck.projections]
    assert [(first[1], first[0], second[0]) for first, second in shapes] == widths
    assert all(shape[2:] == (3, 3) for pair in shapes for shape in pair)
    found = [(p.mlp[0].in_features, p.mlp[0].out_features, p.out_channels) for p in region.head.predictors or []]
    assert found == (predictors or [])
    paper = [(32, 24, 8), (48, 32, 16)][-len(widths) :]
    assert [(grid.window, grid.stride, grid.downsample) for grid in region.head.grids] == paper
    if not predictors:
        assert region.head.gather == [False, True][-len(widths) :]


@pytest.mark.parametrize('name', ['resim_c4_r18_cifar10', 'resim_fpn_r18_cifar10'])
def test_the_small_forms_take_a_step_on_32_pixels(name):
    cfg = read(name).model.copy()
    cfg.branches.image.head.queue_len = 8
    model = MODELS.build(cfg)
    geometry = ViewGeometry(torch.tensor([[[0.0, 0.0, 0.8, 0.8], [0.1, 0.1, 0.9, 1.0]]] * 2), torch.ones(2, 2) > 0)
    losses = model(list(torch.randn(2, 2, 3, 32, 32)), None, mode='loss', geometry=geometry)
    total(losses).backward()
    assert losses['region.valid_windows'] > 1


@pytest.mark.parametrize('name', [*PAPER[::2], *OURS])
def test_every_model_takes_a_step_as_a_demo(name):
    cfg = to_demo(read(name)).model
    model = MODELS.build(cfg)
    geometry = ViewGeometry(torch.tensor([[[0.0, 0.0, 0.8, 0.8], [0.1, 0.1, 0.9, 1.0]]] * 4), torch.ones(4, 2) > 0)
    losses = model(list(torch.randn(2, 4, 3, 32, 32)), None, mode='loss', geometry=geometry)
    total(losses).backward()
    assert losses['region.valid_windows'] > 1
