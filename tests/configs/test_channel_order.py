"""Steps that weigh channels are told the order that the config's images have; the demo's scenes come in it too."""

from pathlib import Path

import pytest
import torch
from mmengine import Config
from mmengine.registry import init_default_scope

from viewplug.config.channel_order import BGR_TO_RGB, order_given
from viewplug.config.model_config import preprocessor_config
from viewplug.datasets.whole_images import images_as_loaded
from viewplug.evaluation.linear_data import typed_dicts
from viewplug.registry import DATASETS, MODELS, class_name
from viewplug.run.demo import to_demo

ROOT = Path(__file__).parents[2] / 'configs'
NAMES = sorted(str(path.relative_to(ROOT)) for path in ROOT.rglob('*.py') if not {'_base_', 'transfer'} & {*path.parts})
LUMA = dict(rgb=(0.2989, 0.587, 0.114), bgr=(0.114, 0.587, 0.2989))
EXAMPLES = dict(rgb='cifar10/mocov2_r18.py', bgr='mocov2_r50.py')


@pytest.mark.parametrize('name', NAMES)
def test_jitter_and_gray_know_the_order(name):
    cfg = Config.fromfile(ROOT / name)
    order = 'bgr' if preprocessor_config(cfg).get('to_rgb') else 'rgb'
    for step in typed_dicts([cfg.train_dataloader.dataset, preprocessor_config(cfg)]):
        kind = class_name(step.type)
        if kind == 'RandomGrayscale':
            assert step.channel_weights == LUMA[order]
        if kind == 'ColorJitter' and (step.get('hue') or step.get('saturation')):
            assert step.get('color_format', 'bgr') == order


def test_a_demo_of_a_config_without_views_is_refused():
    cfg = Config.fromfile(ROOT / EXAMPLES['bgr'])
    cfg.train_dataloader.dataset.pipeline = [dict(type='LoadImageFromFile')]
    with pytest.raises(ValueError, match=r"--demo is for .* with a MultiView .*, got \['LoadImageFromFile'\]"):
        to_demo(cfg)


@pytest.mark.parametrize(('order', 'turned'), [('rgb', False), ('bgr', True), ('bgr', False)])
def test_scenes_of_a_demo_come_in_the_configs_order(order, turned):
    init_default_scope('mmpretrain')
    cfg = Config.fromfile(ROOT / EXAMPLES[order])
    cfg.data_preprocessor.to_rgb = turned
    cfg = to_demo(cfg)
    knn = cfg.custom_hooks[0]
    for loader in (cfg.train_dataloader, knn.train_dataloader, knn.val_dataloader):
        settings = {**loader.dataset, 'num_images': 4, 'preload': False}
        (found,) = images_as_loaded(DATASETS.build(settings), [0])
        (scene,) = images_as_loaded(DATASETS.build({**settings, 'pipeline': loader.dataset.pipeline[-2:]}), [0])
        assert not torch.equal(scene, scene.flip(0))
        assert torch.equal(found, scene.flip(0) if order == 'rgb' else scene)


OWN = dict(type='mylab.Photos')
FOLDER = dict(type='viewplug.ImageFolder')
LOAD = [dict(type='LoadImageFromFile')]


@pytest.mark.parametrize(
    ('dataset', 'steps', 'switch', 'given', 'seen'),
    [
        (FOLDER, [*LOAD, *BGR_TO_RGB], {}, 'BGR', 'RGB'),
        (FOLDER, [*LOAD, *BGR_TO_RGB], dict(rgb_to_bgr=True), 'BGR', 'BGR'),
        (FOLDER, LOAD, dict(to_rgb=True), 'BGR', 'RGB'),
        (FOLDER, LOAD, {}, 'BGR', 'BGR'),
        (OWN, BGR_TO_RGB, {}, 'BGR', 'RGB'),
        (OWN, [], dict(bgr_to_rgb=True), 'BGR', 'RGB'),
        (OWN, [], {}, 'RGB', 'RGB'),
        (OWN, [], dict(rgb_to_bgr=True), 'RGB', 'BGR'),
    ],
)
@pytest.mark.parametrize('inside', [False, True], ids=['before views', 'in views'])
def test_knn_of_a_demo_sees_the_order_that_training_sees(dataset, steps, switch, given, seen, inside):
    init_default_scope('mmpretrain')
    cfg = Config.fromfile(ROOT / EXAMPLES['bgr'])
    views, pack = cfg.train_dataloader.dataset.pipeline[-2:]
    loading, turning = [s for s in steps if s in LOAD], [s for s in steps if s not in LOAD]
    whole = dict(type='Resize', scale=(32, 32))
    views.transforms = [[*turning, whole] if inside else [whole]]
    pipeline = [*loading, views, pack] if inside else [*steps, views, pack]
    cfg.train_dataloader.dataset = dict(**dataset, pipeline=pipeline)
    cfg.data_preprocessor = dict(type='viewplug.ViewsDataPreprocessor', **switch)
    assert order_given(cfg.train_dataloader.dataset, cfg.data_preprocessor) == given
    cfg = to_demo(cfg)
    preprocessor = MODELS.build(cfg.data_preprocessor)
    found = {}
    for name, loader in dict(train=cfg.train_dataloader, knn=cfg.custom_hooks[0].train_dataloader).items():
        sample = DATASETS.build({**loader.dataset, 'num_images': 1, 'preload': False})[0]
        inputs = sample['inputs'] if isinstance(sample['inputs'], list) else [sample['inputs']]
        batch = dict(inputs=[view[None] for view in inputs])
        found[name] = preprocessor(batch if name == 'train' else dict(inputs=batch['inputs'][0]))['inputs']
    scenes = {**cfg.custom_hooks[0].train_dataloader.dataset, 'num_images': 1, 'preload': False}
    scene = DATASETS.build({**scenes, 'pipeline': scenes['pipeline'][-2:]})[0]['inputs']
    expected = scene if seen == 'BGR' else scene.flip(0)
    assert torch.equal(found['knn'][0].byte(), expected)
    assert all(torch.equal(view[0].byte(), expected) for view in found['train'])
