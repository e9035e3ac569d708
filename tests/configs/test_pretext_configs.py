"""CPC's ladder and the pretext tasks: settings, patches as the papers cut them, and demos that train."""

import json
from argparse import Namespace
from functools import lru_cache, partial
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine import Config
from mmengine.dataset import Compose, default_collate
from mmengine.registry import DefaultScope

from viewplug.config.shrunk_pipeline import shrunk_pipeline
from viewplug.registry import DATASETS, MODELS, TRANSFORMS
from viewplug.run.demo import to_demo
from viewplug.run.launch import train

CONFIGS = Path(__file__).resolve().parents[2] / 'configs'
LADDER = ['cpc_v1_r101', 'cpc_1_mc', 'cpc_2_bu', 'cpc_3_ln', 'cpc_4_rc', 'cpc_5_hp', 'cpc_6_lp', 'cpc_v2_r161']
CPC = [*LADDER, 'cpc_v2_r50']
TASKS = ['rotation_r50', 'jigsaw_r50', 'relative_position_r50']
FULL = [(name, 2048) for name in ('cpc_v2_r50', *TASKS)]
TINY = {
    'train_dataloader.batch_size': 4,
    'train_dataloader.dataset.num_images': 8,
    'model.backbone.base_channels': 4,
    'model.backbone.stem_channels': 4,
    'default_hooks.checkpoint.interval': 1,
    **{f'custom_hooks.0.{loader}.dataset.num_images': 24 for loader in ('train_dataloader', 'val_dataloader')},
}


@lru_cache
def read(name: str) -> Config:
    return Config.fromfile(CONFIGS / ('cpc' if name in CPC else 'pretext') / f'{name}.py')


def grid_of(cfg: Config) -> dict:
    return next(step for step in cfg.train_dataloader.dataset.pipeline if step.type == 'viewplug.PatchGrid')


def switches(name: str) -> dict[str, bool]:
    """Which of Fig. 3's steps a config has, read off its settings."""
    cfg = read(name)
    model, grid = cfg.model, grid_of(cfg)
    steps = [step.type for step in grid.transforms]
    return dict(
        MC=model.backbone.type == 'viewplug.ResNet161',
        BU='up' in model.directions,
        LN=model.backbone.norm_cfg.type == 'viewplug.ChannelLayerNorm',
        RC='viewplug.DropColours' in steps,
        HP={'left', 'right'} <= set(model.directions),
        LP=(grid.patch_size, grid.stride) == (80, 36),
        PA='RandAugment' in steps,
    )


def test_there_is_a_config_for_each_step_and_no_other():
    assert {path.stem for path in (CONFIGS / 'cpc').glob('*.py')} == set(CPC)
    assert {path.stem for path in (CONFIGS / 'pretext').glob('*.py')} == set(TASKS)


def test_each_config_of_the_ladder_adds_one_step_in_the_order_of_fig_3():
    order = ['MC', 'BU', 'LN', 'RC', 'HP', 'LP', 'PA']
    for number, name in enumerate(LADDER):
        assert switches(name) == {step: place < number for place, step in enumerate(order)}
    assert switches('cpc_v2_r50') == {step: step != 'MC' for step in order}


def test_v1_and_v2_have_the_papers_settings():
    v1, v2 = read('cpc_v1_r101'), read('cpc_v2_r161')
    assert v1.model.head.offsets == (1, 2, 3, 4, 5) and v1.model.directions == ('down',)
    assert v1.model.head.loss.temperature == 1 and v1.model.head.get('target_dim') is None
    assert v2.model.head.loss.temperature == 10 and v2.model.head.target_dim == 64 and len(v2.model.directions) == 4
    assert (v1.optim_wrapper.optimizer.lr, v2.optim_wrapper.optimizer.lr) == (2e-4, 4e-4)
    assert v1.optim_wrapper.optimizer.type == 'Adam' and 32 * v1.train_dataloader.batch_size == 512


def test_rotation_cuts_as_the_authors_code_does():
    crop = next(step for step in read('rotation_r50').train_dataloader.dataset.pipeline if step.type.endswith('Crop'))
    assert tuple(crop.crop_ratio_range) == (0.08, 1.0)


def test_version_2_augments_every_patch_by_two_operators_and_grey_is_drawn_patch_by_patch():
    steps = grid_of(read('cpc_v2_r161')).transforms
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        augment, jitter, grey = (TRANSFORMS.build(step) for step in read('cpc_v2_r161').patch_augmentation)
    assert augment.num_policies == 2 and all(operator.prob == 1 for operator in augment.transforms)
    assert (jitter.prob, grey.prob) == (0.8, 0.25)
    assert [step.type for step in steps].count('viewplug.RandomGrayscale') == 1
    assert 'RandomGrayscale' not in str(read('cpc_v2_r161').train_dataloader.dataset.pipeline[:-2])
    patch = np.random.default_rng(0).integers(0, 256, (16, 16, 3), dtype=np.uint8)
    untouched = [np.array_equal(augment(dict(img=patch.copy()))['img'], patch) for _ in range(200)]
    assert np.mean(untouched) < 0.1  # 0.3 where each operator comes in half of the cases


@pytest.mark.parametrize(
    ('name', 'key', 'shape'),
    [
        ('cpc_v1_r101', 'patches', (7, 7, 3, 64, 64)),
        ('cpc_v2_r161', 'patches', (6, 6, 3, 80, 80)),
        ('jigsaw_r50', 'patches', (3, 3, 3, 64, 64)),
        ('relative_position_r50', 'patches', (3, 3, 3, 96, 96)),
        ('rotation_r50', 'inputs', (3, 224, 224)),
    ],
)
def test_images_are_cut_as_the_papers_cut_them(name, key, shape):
    steps = [step for step in read(name).train_dataloader.dataset.pipeline if not step.type.startswith('Load')]
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        transform = Compose(steps)
    image = np.random.randint(0, 256, (350, 500, 3), dtype=np.uint8)
    sample = transform(dict(img=image, sample_idx=0, img_shape=image.shape[:2], ori_shape=image.shape[:2]))
    assert tuple(sample[key].shape) == shape and sample[key].dtype == torch.uint8


@pytest.mark.parametrize(('name', 'channels'), [('cpc_v1_r101', 1024), ('cpc_v2_r161', 4096), *FULL])
def test_full_size_models_build(name, channels, monkeypatch):
    # Without memory for their weights; mmpretrain's ResNet asks for the value of a few numbers.
    monkeypatch.setattr(torch, 'linspace', partial(torch.linspace, device='cpu'))
    with torch.device('meta'):
        model = MODELS.build(read(name).model)
    assert model.backbone.feat_dim == channels


@pytest.mark.parametrize('name', [*CPC, *TASKS])
def test_every_demo_takes_a_step_on_scenes(name):
    cfg = to_demo(read(name))
    cfg.train_dataloader.dataset.num_images = 4
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        scenes = DATASETS.build(cfg.train_dataloader.dataset)
        model = MODELS.build({**cfg.model, 'data_preprocessor': cfg.data_preprocessor})
    batch = model.data_preprocessor(default_collate([scenes[i] for i in range(4)]), training=True)
    loss = model(**batch, mode='loss')['loss']
    loss.backward()
    assert loss.isfinite() and all(p.grad is not None for p in model.parameters())
    if name in LADDER:  # the demo keeps the switches
        assert cfg.model.backbone.norm_cfg == read(name).model.backbone.norm_cfg
        assert cfg.model.directions == read(name).model.directions


@pytest.mark.parametrize('name', ['cpc_v2_r50', 'rotation_r50', 'jigsaw_r50'])
def test_demos_train_draw_what_the_network_sees_and_measure_knn(name, tmp_path):
    settings = dict(demo=True, stages=False, data_root=None, amp=None, resume=None, epochs=1, launcher='none')
    config = read(name).filename
    train(Namespace(config=config, work_dir=str(tmp_path), cfg_options=dict(TINY), **settings))
    assert (tmp_path / 'epoch_1.pth').exists() and list((tmp_path / 'vis_views').glob('*.png'))
    scalars = [json.loads(line) for line in next(tmp_path.glob('*/vis_data/scalars.json')).read_text().splitlines()]
    assert sum('knn/top1_k20' in line for line in scalars) == 2  # untrained and trained


def test_the_demo_shows_upright_objects_where_the_task_asks_which_way_is_up():
    for name in TASKS:
        cfg = to_demo(read(name))
        assert cfg.train_dataloader.dataset.upright and cfg.custom_hooks[0].val_dataloader.dataset.upright


def test_a_shrunk_pipeline_has_shorter_lengths_at_any_depth_and_nothing_else_changes():
    steps = [
        dict(type='ResizeEdge', scale=300, edge='short'),
        dict(type='viewplug.PatchGrid', patch_size=80, stride=36, transforms=[dict(type='Pad', size=(64, 60))]),
        dict(type='RandomFlip', prob=0.5),
    ]
    assert shrunk_pipeline(steps, 4) == [
        dict(type='ResizeEdge', scale=75, edge='short'),
        dict(type='viewplug.PatchGrid', patch_size=20, stride=9, transforms=[dict(type='Pad', size=(16, 15))]),
        dict(type='RandomFlip', prob=0.5),
    ]
