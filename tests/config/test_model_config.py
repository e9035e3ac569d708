"""The data preprocessor that is read from a config is the one that mmengine's Runner builds."""

import pytest
from mmengine import Config
from mmengine.runner import Runner

from viewplug.config.model_config import model_config, preprocessor_config
from viewplug.registry import MODELS

OF_MODEL, OF_CONFIG = (dict(type='mmpretrain.SelfSupDataPreprocessor', mean=[m] * 3, std=[1.0] * 3) for m in (1.0, 2.0))
BACKBONE = dict(type='mmpretrain.ResNet', depth=18)


def config(**preprocessors) -> Config:
    """A SimCLR with the model's and the config's preprocessor, as given."""
    model = dict(
        type='mmpretrain.SimCLR',
        backbone=BACKBONE,
        neck=dict(type='mmpretrain.NonLinearNeck', in_channels=512, hid_channels=8, out_channels=8, num_layers=2),
        head=dict(type='mmpretrain.ContrastiveHead', loss=dict(type='mmpretrain.CrossEntropyLoss')),
    )
    if 'model' in preprocessors:
        model['data_preprocessor'] = preprocessors['model']
    found = dict(model=model, default_scope='mmpretrain')
    if 'config' in preprocessors:
        found['data_preprocessor'] = preprocessors['config']
    return Config(found)


@pytest.mark.parametrize(
    'given',
    [dict(), dict(model=OF_MODEL), dict(config=OF_CONFIG), dict(model=OF_MODEL, config=OF_CONFIG)],
    ids=['none', 'model', 'config', 'both'],
)
def test_runner_builds_what_is_read(given, tmp_path):
    cfg = config(**given)
    read, model = preprocessor_config(cfg), model_config(cfg)
    runner = Runner.from_cfg(Config({**cfg, 'work_dir': str(tmp_path), 'experiment_name': f'{tmp_path}'}))
    ours, theirs = MODELS.build(model).data_preprocessor, runner.model.data_preprocessor
    assert type(ours) is type(theirs)
    if given:
        assert ours.mean.flatten().tolist() == theirs.mean.flatten().tolist() == read.mean


def test_copy_leaves_config_alone():
    cfg = config(config=OF_CONFIG)
    model_config(cfg)
    assert 'data_preprocessor' not in cfg.model


def test_settings_are_the_configs_own():
    cfg = config(config=OF_CONFIG)
    preprocessor_config(cfg)['mean'] = [5.0] * 3
    assert cfg.data_preprocessor.mean == [5.0] * 3
