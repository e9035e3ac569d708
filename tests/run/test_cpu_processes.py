"""Several processes without a GPU: what the config says of the model's wrapper stays."""

import pytest
import torch
from mmengine import Config

from viewplug.config.training_data import UserError
from viewplug.run.cpu_processes import check_launcher, use_gloo

DDP = dict(type='MMDistributedDataParallel', device_ids=None)


@pytest.mark.parametrize(
    ('given', 'wrapper'),
    [
        (dict(), dict(DDP, broadcast_buffers=False, find_unused_parameters=False)),
        (dict(find_unused_parameters=True), dict(DDP, broadcast_buffers=False, find_unused_parameters=True)),
        (dict(model_wrapper_cfg=dict(static_graph=True)), dict(DDP, static_graph=True)),
        (
            dict(runner_type='Runner', find_unused_parameters=True, strategy='cosine'),
            dict(DDP, broadcast_buffers=False, find_unused_parameters=True),
        ),
        (dict(runner_type='mmdet.OwnRunner'), dict(DDP, broadcast_buffers=False, find_unused_parameters=False)),
        (
            dict(
                runner_type='FlexibleRunner', strategy=dict(type='DDPStrategy', model_wrapper=dict(static_graph=True))
            ),
            dict(DDP, static_graph=True),
        ),
        (dict(runner_type='FlexibleRunner'), dict(DDP, broadcast_buffers=False)),
    ],
    ids=str,
)
def test_what_the_config_says_of_the_wrapper_stays(given, wrapper, monkeypatch):
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: False)
    monkeypatch.setattr(torch.distributed, 'is_initialized', lambda: True)
    cfg = Config(dict(given, launcher='pytorch'))
    use_gloo(cfg)
    flexible = given.get('runner_type') == 'FlexibleRunner'
    assert (cfg.strategy.model_wrapper if flexible else cfg.model_wrapper_cfg) == wrapper
    assert cfg.env_cfg.dist_cfg == dict(backend='gloo')


@pytest.mark.parametrize(
    ('given', 'key'),
    [
        (dict(model_wrapper_cfg='ddp'), 'model_wrapper_cfg'),
        (
            dict(runner_type='FlexibleRunner', strategy=dict(type='DDPStrategy', model_wrapper='ddp')),
            r'strategy\.model_wrapper',
        ),
    ],
)
def test_a_wrapper_that_is_no_dict_is_one_sentence(given, key, monkeypatch):
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: False)
    monkeypatch.setattr(torch.distributed, 'is_initialized', lambda: True)
    with pytest.raises(UserError, match=f"^{key}='ddp': give a dict"):
        use_gloo(Config(dict(given, launcher='pytorch')))


def test_a_strategy_that_is_none_is_left_to_mmengine(monkeypatch):
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: False)
    monkeypatch.setattr(torch.distributed, 'is_initialized', lambda: True)
    cfg = Config(dict(runner_type='FlexibleRunner', strategy='cosine', launcher='pytorch'))
    use_gloo(cfg)
    assert cfg.strategy == 'cosine'


@pytest.mark.parametrize(
    ('launcher', 'number', 'refused'), [('none', 2, True), ('none', 1, False), ('pytorch', 2, False)]
)
def test_processes_of_torchrun_without_a_launcher_are_refused(launcher, number, refused, monkeypatch):
    monkeypatch.setenv('TORCHELASTIC_RUN_ID', 'none')
    monkeypatch.setenv('WORLD_SIZE', str(number))
    if not refused:
        check_launcher(launcher)
        return
    with pytest.raises(UserError, match=r'torchrun has started 2 processes.*--launcher pytorch'):
        check_launcher(launcher)
