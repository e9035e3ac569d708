"""Steps that weigh channels are told the order that the config's images have; the demo's scenes come in it too."""

from pathlib import Path

import pytest
import torch
from mmengine import Config
from mmengine.registry import init_default_scope

from viewplug.config.model_config import preprocessor_config
from viewplug.datasets.whole_images import images_as_loaded
from viewplug.evaluation.linear_data import typed_dicts
from viewplug.registry import DATASETS, class_name
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
