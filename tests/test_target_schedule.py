"""Where the momentum schedule of a target begins: with the run, and not with the checkpoint that it starts from."""

import pytest
import torch
from mmengine.hooks import Hook
from mmengine.logging import MessageHub
from toy_runs import log_of, toy_runner
from toys import mlp_branch, toy_siamese, toy_views

from viewplug.targets import MomentumTarget

SAID = 'MomentumTarget: the checkpoint brings 4 steps of another run along'


class Steps(Hook):
    def __init__(self) -> None:
        self.seen = []

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None) -> None:
        self.seen.append(int(runner.model.target.steps))


def run(work_dir, monkeypatch, **changes):
    """Two epochs of two steps: counts of steps behind each, and the steps that the momentum was asked for."""
    steps, asked, momentum_at = Steps(), [], MomentumTarget.momentum_at
    with monkeypatch.context() as patch:
        patch.setattr(MomentumTarget, 'momentum_at', lambda self, step: asked.append(step) or momentum_at(self, step))
        runner = toy_runner(work_dir, [steps], branch=mlp_branch(), **changes)
        runner.model.target.end_momentum = 1.0
        runner.train()
    return runner.model.target, steps.seen, asked


def test_a_run_begins_at_0_from_whichever_checkpoint_and_a_resumed_one_goes_on(tmp_path, monkeypatch):
    _, counts, asked = run(tmp_path / 'first', monkeypatch)
    assert counts == [1, 2, 3, 4] and asked == [0, 0, 1, 2] and SAID not in log_of(tmp_path / 'first')

    finished = tmp_path / 'first/epoch_2.pth'
    target, counts, asked = run(tmp_path / 'second', monkeypatch, load_from=str(finished))
    assert counts == [1, 2, 3, 4] and asked == [0, 0, 1, 2] and log_of(tmp_path / 'second').count(SAID) == 1
    before = torch.load(finished, weights_only=False)['state_dict']['target.necks.image.mlp.0.weight']
    assert not torch.equal(before, target.necks['image'].mlp[0].weight)

    half = tmp_path / 'first/epoch_1.pth'
    _, counts, asked = run(tmp_path / 'third', monkeypatch, load_from=str(half), resume=True)
    assert counts == [3, 4] and asked == [1, 2] and 'steps of another run' not in log_of(tmp_path / 'third')


@pytest.mark.parametrize(
    'info', [dict(), dict(iter=0), dict(iter=0, loop_stage='val'), dict(iter=7, loop_stage='train')]
)
def test_without_a_run_that_begins_the_loaded_count_goes_on(info, monkeypatch):
    hub = MessageHub.get_instance(f'test_target_schedule_{len(info)}_{info.get("iter")}_{info.get("loop_stage")}')
    for key, value in info.items():
        hub.update_info(key, value)
    monkeypatch.setattr(MessageHub, 'get_current_instance', lambda: hub)
    first, second = toy_siamese(), toy_siamese()
    for _ in range(3):
        first.loss(toy_views())
    second.load_state_dict(first.state_dict())
    second.loss(toy_views())
    assert second.target.steps == 4
