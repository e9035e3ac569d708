"""ConstantLRHook in whole runs: schedules pass flagged parameters by, also after a resume."""

import math

import pytest
from mmengine.hooks import Hook
from toy_runs import toy_runner

from viewplug.hooks import ConstantLRHook

LR, EPOCHS, ITERS = 0.05, 4, 2
SIAMESE = dict(
    neck=dict(type='viewplug.MLPNeck', out_channels=16, normalize=False),
    head=dict(type='viewplug.PredictHead', predictor=dict(type='viewplug.MLPNeck', hidden_channels=8)),
)
WARM_UP_THEN_COSINE = [
    dict(type='LinearLR', start_factor=0.01, begin=0, end=3, by_epoch=False),
    dict(type='CosineAnnealingLR', T_max=5, begin=3, end=8, by_epoch=False),
]


class LearningRates(Hook):
    """The lr that each step is taken with, apart for the predictor and the rest; stops before ``stop_before``."""

    priority = 'LOWEST'

    def __init__(self, stop_before: int | None = None) -> None:
        self.stop_before, self.predictor, self.rest = stop_before, [], []

    def before_train_epoch(self, runner) -> None:
        if runner.epoch == self.stop_before:
            raise KeyboardInterrupt

    def before_train_iter(self, runner, batch_idx, data_batch=None) -> None:
        flagged = {id(p) for p in runner.model.branches.image.head.predictor.parameters()}
        groups = runner.optim_wrapper.optimizer.param_groups
        of_predictor = {group['lr'] for group in groups if {id(p) for p in group['params']} & flagged}
        of_rest = {group['lr'] for group in groups if not {id(p) for p in group['params']} & flagged}
        assert len(of_predictor) == len(of_rest) == 1
        self.predictor += of_predictor
        self.rest += of_rest


def runner_of(work_dir, hooks, lr=LR, keys=('predictor',), **changes):
    runner = toy_runner(work_dir, hooks, branch=SIAMESE, max_epochs=EPOCHS, **changes)
    runner.optim_wrapper['optimizer']['lr'] = lr
    runner.optim_wrapper['paramwise_cfg'] = dict(custom_keys={key: dict(fix_lr=True) for key in keys})
    return runner


def cosine(lr: float) -> list[float]:
    return [lr / 2 * (1 + math.cos(math.pi * i / (EPOCHS * ITERS))) for i in range(EPOCHS * ITERS)]


def test_the_predictors_lr_stays_while_the_schedule_moves_the_rest(tmp_path):
    rates = LearningRates()
    runner_of(tmp_path, [ConstantLRHook(), rates]).train()
    assert rates.predictor == [LR] * 8
    assert rates.rest == pytest.approx(cosine(LR))


def test_a_warm_up_passes_it_by_too(tmp_path):
    rates = LearningRates()
    runner = runner_of(tmp_path, [ConstantLRHook(), rates])
    runner.param_schedulers = WARM_UP_THEN_COSINE
    runner.train()
    assert rates.predictor == [LR] * 8
    assert rates.rest[0] == pytest.approx(LR / 100) and max(rates.rest) == pytest.approx(LR)


def test_it_is_the_optimisers_lr_after_scaling_to_the_batch(tmp_path):
    rates = LearningRates()
    runner = runner_of(tmp_path, [ConstantLRHook(), rates])
    runner.auto_scale_lr = dict(enable=True, base_batch_size=2)  # the toy batch is 8
    runner.train()
    assert rates.predictor == pytest.approx([4 * LR] * 8)
    assert rates.rest == pytest.approx(cosine(4 * LR))


def test_a_resumed_run_goes_on_with_both(tmp_path):
    before, after = LearningRates(stop_before=2), LearningRates()
    with pytest.raises(KeyboardInterrupt):
        runner_of(tmp_path, [ConstantLRHook(), before]).train()
    runner_of(tmp_path, [ConstantLRHook(), after], resume=True).train()
    assert before.predictor + after.predictor == [LR] * 8
    assert before.rest + after.rest == pytest.approx(cosine(LR))


def test_a_flag_that_matches_no_parameter_is_refused_with_the_key_to_set(tmp_path):
    with pytest.raises(ValueError, match='no parameter has fix_lr=True.*paramwise_cfg'):
        runner_of(tmp_path, [ConstantLRHook()], keys=('predicter',)).train()
