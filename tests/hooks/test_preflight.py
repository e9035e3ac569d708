"""PreflightHook: what would not be noticed for hours."""

import pytest
from toy_runs import log_of, toy_runner
from toys import mlp_branch

from viewplug.hooks import PreflightHook


@pytest.mark.parametrize(('counts', 'interval', 'warned'), [(2, 1, True), (1, 2, True), (2, 2, False), (1, 1, False)])
def test_a_target_that_does_not_move_with_the_optimiser_is_a_warning(counts, interval, warned, tmp_path):
    target = dict(type='viewplug.MomentumTarget', momentum=0.9, update_interval=interval)
    runner = toy_runner(tmp_path, [PreflightHook()], branch=mlp_branch(), target=target, max_epochs=1)
    runner.optim_wrapper['accumulative_counts'] = counts
    runner.train()
    said = f'once in {counts} forwards (optim_wrapper.accumulative_counts), and the momentum target moves once in '
    said += f'{interval},'
    assert (said in log_of(tmp_path)) is warned


def test_a_target_without_momentum_has_nothing_to_move(tmp_path):
    target = dict(type='viewplug.StopGradTarget')
    runner = toy_runner(tmp_path, [PreflightHook()], branch=mlp_branch(), target=target, max_epochs=1)
    runner.optim_wrapper['accumulative_counts'] = 2
    runner.train()
    assert 'PreflightHook: the optimiser' not in log_of(tmp_path)
