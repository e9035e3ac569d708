"""Frozen prototypes and gradients clipped one by one, in runs of a Runner."""

from contextlib import suppress

import pytest
import torch
from mmengine.hooks import Hook
from toy_runs import toy_runner

from viewplug.hooks import ClipEachGradientHook, FreezeLastLayerHook
from viewplug.hooks.step_gradients import clip_each

BRANCH = dict(
    neck=dict(type='viewplug.DINONeck', out_channels=24, hidden_channels=16, bottleneck_channels=8),
    head=dict(type='viewplug.DistillHead', warmup_epochs=2),
)
PROTOTYPES = 'branches.image.neck.last_layer.parametrizations.weight.original1'


class Prototypes(Hook):
    """The prototypes and another weight behind every step; stops before epoch ``stop_before``."""

    priority = 'VERY_LOW'

    def __init__(self, stop_before=None) -> None:
        self.stop_before, self.seen = stop_before, []

    def before_train_epoch(self, runner) -> None:
        if runner.epoch == self.stop_before:
            raise KeyboardInterrupt

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None) -> None:
        state = runner.model.state_dict()
        self.seen.append((state[PROTOTYPES].clone(), state['branches.image.neck.mlp.0.weight'].clone()))


def run(work_dir, hooks, optim=None, stop_before=None, resume=False, epochs=3) -> list:
    diary = Prototypes(stop_before)
    runner = toy_runner(
        work_dir, hooks=[dict(type='viewplug.EpochSeedHook'), *hooks, diary], branch=BRANCH, max_epochs=epochs
    )
    if optim:
        runner.optim_wrapper = runner.build_optim_wrapper(optim)
    if resume:
        runner._resume = True
    with suppress(KeyboardInterrupt):
        runner.train()
    return diary.seen


def changes_of(seen, which: int) -> list[bool]:
    return [not torch.equal(a[which], b[which]) for a, b in zip(seen, seen[1:], strict=False)]


@pytest.mark.parametrize('kind', ['OptimWrapper', 'viewplug.CPUAmpOptimWrapper'])
def test_the_prototypes_stand_still_in_the_first_epoch_and_learn_from_then_on(tmp_path, kind):
    optim = dict(type=kind, optimizer=dict(type='AdamW', lr=0.01, weight_decay=0.1))
    seen = run(tmp_path, [dict(type='viewplug.FreezeLastLayerHook', epochs=1)], optim)
    assert len(seen) == 6  # two steps an epoch
    assert changes_of(seen, 0) == [False, True, True, True, True]
    assert all(changes_of(seen, 1))


def test_a_resumed_run_thaws_when_the_unbroken_one_does(tmp_path):
    freeze = [dict(type='viewplug.FreezeLastLayerHook', epochs=2)]
    unbroken = run(tmp_path / 'a', freeze)
    before = run(tmp_path / 'b', freeze, stop_before=1)
    after = run(tmp_path / 'b', freeze, resume=True)
    assert len(before) == 2 and len(after) == 4
    assert changes_of(unbroken, 0) == [False, False, False, True, True]
    for expected, found in zip(unbroken, [*before, *after], strict=True):
        assert all(torch.equal(mine, theirs) for mine, theirs in zip(expected, found, strict=True))


def test_a_name_that_no_parameter_has_is_refused(tmp_path):
    runner = toy_runner(tmp_path, hooks=[FreezeLastLayerHook(parameters='prototypes')], branch=BRANCH)
    with pytest.raises(ValueError, match="no trained parameter has 'prototypes' in its name"):
        runner.train()


def test_each_gradient_is_clipped_to_a_length_of_its_own():
    parameters = [torch.nn.Parameter(torch.zeros(4)) for _ in range(3)]
    for parameter, length in zip(parameters, (10.0, 0.5, 3.5), strict=True):
        parameter.grad = torch.full((4,), length / 2)
    parameters.append(torch.nn.Parameter(torch.zeros(2)))
    clip_each(parameters, 3.0)
    assert [p.grad.norm().item() for p in parameters[:3]] == pytest.approx([3.0, 0.5, 3.0], rel=1e-5)


def test_the_optimiser_steps_with_clipped_gradients_and_the_hook_leaves_with_the_run(tmp_path):
    runner = toy_runner(tmp_path, hooks=[ClipEachGradientHook(max_norm=1e-3)], branch=BRANCH, max_epochs=1)
    lengths = []

    class Look(Hook):
        priority = 'VERY_LOW'

        def before_train(self, runner) -> None:
            stepped = runner.optim_wrapper.optimizer
            stepped.register_step_post_hook(
                lambda optimizer, *_: lengths.extend(
                    p.grad.norm().item()
                    for group in optimizer.param_groups
                    for p in group['params']
                    if p.grad is not None
                )
            )

    runner.register_hook(Look())
    runner.train()
    assert lengths and max(lengths) <= 1.001e-3
    assert not runner.optim_wrapper.optimizer._optimizer_step_pre_hooks


def test_bad_numbers_are_refused():
    with pytest.raises(ValueError, match='FreezeLastLayerHook: epochs must be at least 0, got -1'):
        FreezeLastLayerHook(epochs=-1)
    with pytest.raises(ValueError, match='ClipEachGradientHook: max_norm must be above 0, got 0'):
        ClipEachGradientHook(max_norm=0)


@pytest.mark.skipif(not hasattr(torch.amp, 'GradScaler'), reason='this torch has no GradScaler for a CPU')
@pytest.mark.parametrize('clip_too', [False, True], ids=['scaled', 'unscaled before'])
@pytest.mark.parametrize('fused', [False, True])
def test_a_loss_scale_changes_nothing_about_the_length(fused, clip_too):
    """Fused optimisers unscale in their kernel, behind the hook, unless it was done before (clip_grad)."""
    weight = torch.nn.Parameter(torch.zeros(4))
    optimizer = torch.optim.SGD([weight], lr=0.1, fused=fused)
    hook = ClipEachGradientHook(3.0)
    optimizer.register_step_pre_hook(lambda stepping, args, kwargs: hook.change(None, stepping))
    scaler = torch.amp.GradScaler('cpu', init_scale=65536.0)
    scaler.scale((weight * 100).sum()).backward()  # a gradient of length 200
    if clip_too:
        scaler.unscale_(optimizer)
    scaler.step(optimizer)
    assert weight.norm().item() == pytest.approx(0.1 * 3.0, rel=1e-5)
