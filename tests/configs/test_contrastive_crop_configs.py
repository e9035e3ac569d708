"""Every cell of ContrastiveCrop's Tables 1 and 2 as a config that builds, with the paper's settings."""

import json
from functools import lru_cache
from pathlib import Path

import numpy as np
import pytest
from mmengine import Config
from mmengine.dataset import Compose
from mmengine.registry import MODELS, DefaultScope

from viewplug.views import ViewGeometry

CONFIGS = Path(__file__).resolve().parents[2] / 'configs'
SIZES = dict(cifar10=32, cifar100=32, tiny=64, stl10=96, in200=224, in1k=224)
SMALL = ('simclr', 'moco', 'byol', 'simsiam')
IMAGENET = ('simclr', 'mocov1', 'mocov2', 'simsiam')  # Table 2 has no BYOL
CELLS = [(data, method) for data, size in SIZES.items() for method in (IMAGENET if size == 224 else SMALL)]


@lru_cache
def read(data, method, crop):
    return Config.fromfile(CONFIGS / f'contrastive_crop/{data}/{method}_{crop}.py')


def multi_view(cfg):
    return next(step for step in cfg.train_dataloader.dataset.pipeline if step.type == 'viewplug.MultiView')


def test_there_is_a_config_for_each_cell_of_the_tables_and_no_other():
    found = {str(path.relative_to(CONFIGS / 'contrastive_crop')) for path in CONFIGS.glob('contrastive_crop/**/*.py')}
    assert found == {f'{data}/{method}_{crop}.py' for data, method in CELLS for crop in ('rcrop', 'ccrop')}


@pytest.mark.parametrize('data, method', CELLS)
def test_c_crop_differs_from_r_crop_by_the_crop_and_the_hook_only(data, method):
    r_crop, c_crop = (read(data, method, crop).to_dict() for crop in ('rcrop', 'ccrop'))
    assert c_crop['custom_hooks'].pop() == c_crop['localization']
    (pipeline,) = multi_view(read(data, method, 'ccrop')).to_dict()['transforms']
    assert pipeline[0].pop('alpha') == (0.6 if SIZES[data] == 224 else 0.1)
    assert pipeline[0].pop('type') == 'viewplug.ContrastiveCrop'
    pipeline[0]['type'] = 'viewplug.RandomResizedCrop'
    step = next(step for step in c_crop['train_dataloader']['dataset']['pipeline'] if 'transforms' in step)
    step['transforms'] = [pipeline]
    assert c_crop.pop('work_dir') != r_crop.pop('work_dir')
    assert c_crop == r_crop


@pytest.mark.parametrize('data, method', CELLS)
def test_schedules_batches_and_boxes_are_the_papers(data, method):
    cfg = read(data, method, 'ccrop')
    hook, optimizer = cfg.custom_hooks[-1], cfg.optim_wrapper.optimizer
    batch = cfg.train_dataloader.batch_size
    assert (optimizer.type, optimizer.momentum, optimizer.weight_decay) == ('SGD', 0.9, 1e-4)
    assert hook.type == 'viewplug.LocalizationHook' and hook.threshold == 0.1
    schedule = cfg.param_scheduler[0]
    if SIZES[data] == 224:  # on eight GPUs
        lrs = dict(simclr=(0.05, 512), mocov1=(0.03, 256), mocov2=(0.03, 256), simsiam=(0.1, 512))
        assert (optimizer.lr, 8 * batch) == lrs[method]
        assert (cfg.train_cfg.max_epochs, hook.start, hook.interval) == (100, 20, 10)
        if method == 'mocov1':
            assert (schedule.type, schedule.milestones, schedule.gamma) == ('MultiStepLR', [60, 80], 0.1)
    else:
        assert (optimizer.lr, batch) == (0.5, 512)
        assert (cfg.train_cfg.max_epochs, hook.start, hook.interval) == (500, 100, 100)
    if method != 'mocov1':
        assert (schedule.type, schedule.T_max) == ('CosineAnnealingLR', cfg.train_cfg.max_epochs)
    assert schedule.end == cfg.train_cfg.max_epochs
    fixed = cfg.optim_wrapper.get('paramwise_cfg', {}).get('custom_keys', {}).get('predictor', {})
    assert fixed == (dict(fix_lr=True) if method == 'simsiam' else {})
    assert [hook.type for hook in cfg.custom_hooks].count('viewplug.ConstantLRHook') == (method == 'simsiam')
    assert cfg.auto_scale_lr.base_batch_size == batch * (8 if SIZES[data] == 224 else 1)


def test_every_model_builds_and_small_images_keep_a_fine_last_map():
    from viewplug.backbones.layout import backbone_layout

    models = {}
    for cell in CELLS:
        models.setdefault(json.dumps(read(*cell, 'rcrop').model.to_dict(), sort_keys=True), cell)
    assert len(models) == 8
    for data, method in models.values():
        cfg = read(data, method, 'rcrop').model.copy()
        if 'queue_len' in cfg.branches.image.head:
            assert cfg.branches.image.head.queue_len == 65536
            cfg.branches.image.head.queue_len = 8
        model = MODELS.build(cfg)
        channels, strides = backbone_layout(model.backbone, 64)
        assert (channels[-1], strides[-1]) == ((2048, 32) if SIZES[data] == 224 else (512, 8))


@pytest.mark.parametrize('data', SIZES)
@pytest.mark.parametrize('crop', ['rcrop', 'ccrop'])
def test_every_pipeline_builds_and_gives_two_views_of_its_size_with_their_geometry(data, crop):
    pipeline = read(data, 'simclr', crop).train_dataloader.dataset.pipeline
    steps = [step for step in pipeline if not step.type.startswith('Load')]
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        transform = Compose(steps)
    size = SIZES[data]
    image = np.random.default_rng(0).integers(0, 256, (size + 9, size + 20, 3), dtype=np.uint8)
    sample = transform(dict(img=image, sample_idx=0, img_shape=image.shape[:2], ori_shape=image.shape[:2]))
    assert [tuple(view.shape) for view in sample['inputs']] == [(3, size, size)] * 2
    assert ViewGeometry.from_samples([sample['data_samples']], 'cpu').boxes.shape == (1, 2, 4)
    blurred = [step.type for step in multi_view(read(data, 'simclr', crop)).transforms[0]].count('GaussianBlur')
    assert blurred == (size == 224)


@pytest.mark.parametrize('data', SIZES)
def test_pre_training_and_labelled_data_are_those_of_the_paper(data):
    cfg = read(data, 'simclr', 'ccrop')
    train, val = (cfg.knn_hook[f'{split}_dataloader'].dataset for split in ('train', 'val'))
    kinds = dict(
        cifar10='CIFAR10',
        cifar100='CIFAR100',
        tiny='viewplug.TinyImageNet',
        stl10='viewplug.STL10',
        in200='viewplug.ClassSubset',
        in1k='viewplug.ImageFolder',
    )
    assert {cfg.train_dataloader.dataset.type, train.type, val.type} == {kinds[data]}
    if data == 'stl10':
        assert [part.split for part in (cfg.train_dataloader.dataset, train, val)] == [
            'train+unlabeled',
            'train',
            'test',
        ]
    if data == 'in200':
        draws = {(s.num_classes, s.class_seed, s.classes_file) for s in (cfg.train_dataloader.dataset, train, val)}
        assert len(draws) == 1 and draws.pop()[0] == 200
    running = [hook.type for hook in cfg.custom_hooks].count('viewplug.KNNHook')
    assert running == (SIZES[data] < 224)


def test_no_two_configs_share_a_work_dir_and_second_stages_load_from_the_first_ones():
    paths = [path for path in CONFIGS.glob('**/*.py') if '_base_' not in path.parts]
    configs = {path: Config.fromfile(path) for path in paths if 'contrastive_crop' not in path.parts}
    configs |= {CONFIGS / f'{data}/{m}_{c}': read(data, m, c) for data, m in CELLS for c in ('rcrop', 'ccrop')}
    assert len(configs) == len(paths)
    # As tools/train.py derives them.
    work_dirs = {path: cfg.get('work_dir') or f'work_dirs/{path.stem}' for path, cfg in configs.items()}
    assert len(set(work_dirs.values())) == len(work_dirs)
    for path, cfg in configs.items():
        if 'stage1_config' in cfg:
            first = (path.parent / cfg.stage1_config).resolve()
            assert cfg.load_from == f'{work_dirs[first]}/epoch_{cfg.stage1_epochs}.pth'
