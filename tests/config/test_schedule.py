"""The length of a run as one number."""

import pytest
from mmengine import Config

from viewplug.config.schedule import set_epochs


def config() -> Config:
    schedulers = [
        dict(type='LinearLR', by_epoch=True, begin=0, end=10, convert_to_iter_based=True),
        dict(type='CosineAnnealingLR', by_epoch=True, begin=10, end=200, T_max=190),
        dict(type='MultiStepLR', by_epoch=True, begin=0, end=200, milestones=[120, 160]),
        dict(type='ConstantLR', by_epoch=False, begin=0, end=500),
    ]
    hooks = [dict(type='viewplug.KNNHook', interval=10), dict(type='viewplug.LocalizationHook', start=20, interval=10)]
    return Config(dict(train_cfg=dict(max_epochs=200), param_scheduler=schedulers, custom_hooks=hooks))


def test_everything_that_counts_epochs_is_scaled():
    cfg = config()
    set_epochs(cfg, 100)
    warmup, cosine, steps, by_iter = cfg.param_scheduler
    assert cfg.train_cfg.max_epochs == 100
    assert (warmup.begin, warmup.end) == (0, 5)
    assert (cosine.begin, cosine.end, cosine.T_max) == (5, 100, 95)
    assert steps.milestones == [60, 80] and by_iter.end == 500
    knn, boxes = cfg.custom_hooks
    assert knn.interval == 10 and (boxes.start, boxes.interval) == (10, 5)


def test_cycles_periods_and_steps_of_a_scheduler_end_with_the_run():
    cycle = dict(type='OneCycleLR', by_epoch=True, total_steps=200, eta_max=0.1)
    restarts = dict(type='CosineRestartLR', by_epoch=True, periods=[50, 75, 75], restart_weights=[1, 1, 1])
    steps = dict(type='StepLR', by_epoch=True, step_size=60)
    cfg = config()
    cfg.param_scheduler = [cycle, restarts, steps]
    set_epochs(cfg, 30)
    cycle, restarts, steps = cfg.param_scheduler
    assert (cycle.total_steps, steps.step_size) == (30, 9)
    assert restarts.periods == [8, 11, 11] and sum(restarts.periods) == 30
    set_epochs(cfg, 1)
    assert (cycle.total_steps, restarts.periods, steps.step_size) == (1, [1, 1, 1], 1)


def test_a_warm_up_that_shrinks_to_nothing_is_left_out():
    cfg = config()
    set_epochs(cfg, 2)
    cosine, steps, by_iter = cfg.param_scheduler
    assert (cosine.type, cosine.begin, cosine.end) == ('CosineAnnealingLR', 0, 2)
    assert (steps.type, by_iter.type) == ('MultiStepLR', 'ConstantLR')


def test_one_scheduler_need_not_be_a_list():
    cfg = config()
    cfg.param_scheduler = dict(type='MultiStepLR', by_epoch=True, milestones=[100, 150])
    set_epochs(cfg, 20)
    assert cfg.param_scheduler[0].milestones == [10, 15]


def test_boxes_before_the_first_epoch_stay_there():
    cfg = config()
    cfg.custom_hooks[1].start = 0
    set_epochs(cfg, 20)
    assert (cfg.custom_hooks[1].start, cfg.custom_hooks[1].interval) == (0, 1)


def test_a_hook_is_known_however_its_type_is_written():
    from viewplug.hooks import LocalizationHook

    for kind in ('LocalizationHook', 'viewplug.hooks.LocalizationHook', LocalizationHook):
        cfg = config()
        cfg.custom_hooks[1].type = kind
        set_epochs(cfg, 100)
        assert (cfg.custom_hooks[1].start, cfg.custom_hooks[1].interval) == (10, 5)


def test_no_epoch_is_refused():
    with pytest.raises(ValueError, match='at least 1, got 0'):
        set_epochs(config(), 0)


@pytest.mark.parametrize('branches', [[dict(head=dict(type='Head'))], dict(one='two'), dict(one=dict(head=None)), None])
def test_what_a_model_of_ones_own_calls_branches_has_no_length(branches):
    cfg = config()
    cfg.model = dict(type='Own', branches=branches)
    set_epochs(cfg, 20)
    assert cfg.model == dict(type='Own', branches=branches)


def test_a_run_without_a_training_has_no_length():
    with pytest.raises(ValueError, match='got train_cfg=None'):
        set_epochs(Config(dict(train_cfg=None)), 20)
