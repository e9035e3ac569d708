"""ResumeCheckHook: a run resumed with other settings goes on as an unbroken run of them, and the log says so."""

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from mmengine import Config
from mmengine.hooks import Hook
from mmengine.optim import OptimWrapper, OptimWrapperDict
from mmengine.runner import FlexibleRunner
from torch import nn
from toy_runs import PIPELINE, log_of, toy_runner
from toys import ToyImages, mlp_branch

from viewplug.hooks import ConstantLRHook, EpochSeedHook, ResumeCheckHook
from viewplug.registry import HOOKS

CHECK = dict(resume_check=dict(type='viewplug.ResumeCheckHook'))


def cosine(epochs: int) -> list[dict]:
    return [dict(type='CosineAnnealingLR', T_max=epochs, by_epoch=True, convert_to_iter_based=True, end=epochs)]


def warm_up_then_cosine(epochs: int) -> list[dict]:
    return [
        dict(type='LinearLR', start_factor=0.01, begin=0, end=epochs // 2, by_epoch=True, convert_to_iter_based=True),
        dict(type='CosineAnnealingLR', T_max=epochs - 1, begin=1, end=epochs, by_epoch=True, eta_min=1e-3),
    ]


def steps(epochs: int) -> list[dict]:
    return [dict(type='MultiStepLR', milestones=[epochs // 2, epochs - 1], gamma=0.1, by_epoch=True)]


def everything(epochs: int) -> list[dict]:
    return [
        dict(
            type='CosineAnnealingParamScheduler',
            param_name='weight_decay',
            eta_min_ratio=10.0,
            T_max=epochs,
            convert_to_iter_based=True,
        ),
        dict(type='LinearMomentum', start_factor=0.5, end=epochs, by_epoch=True),
        dict(type='OneCycleLR', eta_max=0.1, by_epoch=True, convert_to_iter_based=True),
    ]


def iterations(number: int) -> list[dict]:
    return [
        dict(type='LinearLR', start_factor=0.1, begin=0, end=3, by_epoch=False),
        dict(type='CosineAnnealingLR', T_max=number - 3, begin=3, end=number, by_epoch=False),
    ]


class Settings(Hook):
    """What every step is taken with, in each parameter group; stops the run before epoch ``stop_before``."""

    priority = 'LOWEST'

    def __init__(self, stop_before: int | None = None) -> None:
        self.stop_before, self.taken, self.momenta, self.counts = stop_before, [], [], []

    def before_train_epoch(self, runner) -> None:
        if runner.epoch == self.stop_before:
            raise KeyboardInterrupt

    def before_train_iter(self, runner, batch_idx, data_batch=None) -> None:
        groups = runner.optim_wrapper.optimizer.param_groups
        self.taken.append([[group.get(key) for key in ('lr', 'weight_decay', 'momentum', 'betas')] for group in groups])
        self.counts.append(runner.iter)

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None) -> None:
        self.momenta.append(runner.model.target.momentum_at(int(runner.model.target.steps) - 1))
        assert runner.message_hub.get_info('eta') >= 0


def run(folder, schedulers, epochs=4, batch_size=8, stop_before=None, hooks=(), optim=None, **changes) -> Settings:
    settings = Settings(stop_before)
    changes = dict(branch=mlp_branch(queue_len=12), default_hooks=CHECK) | changes
    runner = toy_runner(folder, [*hooks, settings], max_epochs=epochs, **changes)
    runner._train_dataloader['batch_size'] = batch_size
    runner.param_schedulers = schedulers
    runner.optim_wrapper.update(optim or {})
    runner.model.target.end_momentum = 1.0
    settings.runner = runner
    if stop_before is None:
        runner.train()
    else:
        with pytest.raises(KeyboardInterrupt):
            runner.train()
    return settings


def warnings_of(folder) -> list[str]:
    return [line for line in log_of(folder).split('\n') if 'WARNING' in line and 'ResumeCheckHook' in line]


@pytest.mark.parametrize(
    ('schedulers', 'optim', 'differences'),
    [
        (cosine, {}, ['CosineAnnealingLR: ', 'T_max 4 in the checkpoint, 8 in', 'end 4 in the checkpoint, 8 in']),
        (warm_up_then_cosine, {}, ['LinearLR: end 2 in the checkpoint, 4 in', 'T_max 1 in the checkpoint, 3 in']),
        (steps, {}, ['MultiStepLR: ', 'milestones [1, 1] in the checkpoint, [2, 3] in']),
        (everything, dict(optimizer=dict(type='SGD', lr=0.05, momentum=0.9, weight_decay=0.01)), ['T_max 4 in the ']),
        (everything, dict(optimizer=dict(type='AdamW', lr=0.01)), ['LinearMomentum: end 2 in', 'total_steps 4 in']),
    ],
)
def test_more_epochs_after_a_finished_run_follow_the_schedule_of_the_longer_run(
    schedulers, optim, differences, tmp_path
):
    whole = run(tmp_path / 'whole', schedulers(4), optim=optim)
    first = run(tmp_path / 'broken', schedulers(2), epochs=2, optim=optim)
    again = run(tmp_path / 'broken', schedulers(4), optim=optim, resume=True)
    assert len(first.taken) == len(again.taken) == 4
    assert first.taken != whole.taken[:4]
    assert again.taken == whole.taken[4:]
    assert again.momenta == whole.momenta[4:]
    (warning,) = warnings_of(tmp_path / 'broken')
    assert all(difference in warning for difference in differences), warning
    assert 'after epoch 2 the run goes on with' in warning


class Rates(Hook):
    def __init__(self) -> None:
        self.taken: list[float] = []

    def before_train_iter(self, runner, batch_idx, data_batch=None) -> None:
        self.taken += [group['lr'] for group in runner.optim_wrapper.optimizer.param_groups]


def test_mmengines_flexible_runner_which_loads_before_its_run_begins_follows_the_longer_run_too(tmp_path):
    def rates(folder, epochs: int, **changes) -> list[float]:
        seen = Rates()
        changes = dict(branch=mlp_branch(queue_len=12), default_hooks=CHECK, kind=FlexibleRunner) | changes
        runner = toy_runner(folder, [seen], max_epochs=epochs, **changes)
        runner.param_schedulers = cosine(epochs)
        runner.train()
        return seen.taken

    whole = rates(tmp_path / 'whole', 4)
    assert rates(tmp_path / 'broken', 2) != whole[:4]
    assert rates(tmp_path / 'broken', 4, resume=True) == whole[4:]
    (warning,) = warnings_of(tmp_path / 'broken')
    assert 'T_max 4 in the checkpoint, 8 in' in warning


def test_a_run_that_was_evaluated_before_goes_on(tmp_path):
    run(tmp_path, cosine(2), epochs=1)
    runner = toy_runner(tmp_path, branch=mlp_branch(queue_len=12), default_hooks=CHECK, resume=True)
    runner.param_schedulers = cosine(2)
    runner.load_or_resume()  # as Runner.val does
    runner.train()
    assert runner.epoch == 2


def test_without_the_hook_the_old_schedule_goes_on(tmp_path):
    """What it is for: should mmengine change, this says so."""
    whole = run(tmp_path / 'whole', cosine(4))
    run(tmp_path / 'broken', cosine(2), epochs=2)
    again = run(tmp_path / 'broken', cosine(4), resume=True, default_hooks={})
    assert again.taken != whole.taken[4:]


def test_layer_wise_and_constant_learning_rates_come_through(tmp_path):
    neck = dict(type='viewplug.MLPNeck', out_channels=16, normalize=False)
    head = dict(type='viewplug.PredictHead', predictor=dict(type='viewplug.MLPNeck', hidden_channels=8))
    keys = dict(predictor=dict(fix_lr=True), backbone=dict(lr_mult=0.1))
    settings = dict(
        branch=dict(neck=neck, head=head),
        optim=dict(paramwise_cfg=dict(custom_keys=keys)),
        hooks=[ConstantLRHook()],
    )
    whole = run(tmp_path / 'whole', warm_up_then_cosine(4), **settings)
    run(tmp_path / 'broken', warm_up_then_cosine(2), epochs=2, **settings)
    again = run(tmp_path / 'broken', warm_up_then_cosine(4), resume=True, **settings)
    assert again.taken == whole.taken[4:]
    last = {group[0] for group in again.taken[-1]}
    assert len(last) == 3 and max(last) == 0.05  # backbone, neck, predictor


@pytest.mark.parametrize('schedulers', [cosine, warm_up_then_cosine, steps, lambda _: iterations(16)])
def test_another_batch_size_counts_iterations_anew(schedulers, tmp_path):
    whole = run(tmp_path / 'whole', schedulers(4), batch_size=4)
    run(tmp_path / 'broken', schedulers(4), stop_before=2)
    again = run(tmp_path / 'broken', schedulers(4), batch_size=4, resume=True)
    assert again.counts == whole.counts[8:] == list(range(8, 16))
    assert again.taken == whole.taken[8:]
    assert again.momenta == whole.momenta[8:]
    assert again.runner.model.target.steps == again.runner.max_iters == 16
    said = warnings_of(tmp_path / 'broken')
    assert 'up to epoch 2 the checkpoint counts 4 iterations, and this run 8 (4 batches an epoch)' in said[0]
    assert 'at the beginning of epoch 3, with iteration 9 of 16' in said[0]
    converted = any(scheduler.get('convert_to_iter_based') for scheduler in schedulers(4))
    assert len(said) == 1 + converted


def test_a_checkpoint_from_within_an_epoch_starts_that_epoch_over(tmp_path):
    checkpoints = CHECK | dict(checkpoint=dict(type='CheckpointHook', interval=3, by_epoch=False, save_last=False))
    whole = run(tmp_path / 'whole', cosine(4), batch_size=4)
    run(tmp_path / 'broken', cosine(4), batch_size=4, stop_before=2, default_hooks=checkpoints)
    again = run(tmp_path / 'broken', cosine(4), batch_size=4, resume=True)
    assert again.counts == whole.counts[4:]
    assert again.taken == whole.taken[4:]
    assert again.momenta == whole.momenta[4:]
    (warning,) = warnings_of(tmp_path / 'broken')
    assert 'up to epoch 1 the checkpoint counts 6 iterations, and this run 4 (4 batches an epoch)' in warning


def test_a_run_over_iterations_follows_the_longer_run_too(tmp_path):
    def run_of(name: str, number: int, **changes) -> Settings:
        return run(
            tmp_path / name,
            iterations(number),
            train_cfg=dict(by_epoch=False, max_iters=number),
            dataset=ToyImages(number=32, pipeline=PIPELINE),
            log_processor=dict(by_epoch=False),
            default_hooks=CHECK | dict(checkpoint=dict(type='CheckpointHook', interval=4, by_epoch=False)),
            **changes,
        )

    whole = run_of('whole', 8, batch_size=4)
    run_of('broken', 5, batch_size=4)
    again = run_of('broken', 8, batch_size=4, resume=True)
    assert again.counts == [5, 6, 7]
    assert again.taken == whole.taken[5:]
    (warning,) = warnings_of(tmp_path / 'broken')
    assert 'end 5 in the checkpoint, 8 in' in warning and 'after iteration 5 the run goes on' in warning


def test_another_learning_rate_or_other_schedulers_are_those_of_the_config(tmp_path):
    optim = dict(optimizer=dict(type='SGD', lr=0.2, momentum=0.9, weight_decay=0.01))
    before = dict(optimizer=dict(optim['optimizer'], lr=0.05))
    whole = run(tmp_path / 'whole', cosine(4), optim=optim)
    for name, schedulers, sentence in (
        ('lr', cosine(4), "CosineAnnealingLR: initial lr 0.05 in the checkpoint, 0.2 in this run's config"),
        ('kind', steps(4), "a scheduler of another kind in the checkpoint, CosineAnnealingLR in this run's config"),
        ('number', everything(4), "3 schedulers in the checkpoint, 1 in this run's config"),
    ):
        run(tmp_path / name, schedulers, stop_before=2, optim=before)
        again = run(tmp_path / name, cosine(4), optim=optim, resume=True)
        assert again.taken == whole.taken[4:], name
        (warning,) = warnings_of(tmp_path / name)
        assert sentence in warning


@pytest.mark.parametrize(
    ('schedulers', 'before', 'after', 'said'),
    [
        (
            [],
            dict(lr=0.1, momentum=0.9),
            dict(lr=0.2, momentum=0.5),
            ['lr 0.1 in the checkpoint, 0.2 in', 'momentum 0.9 '],
        ),
        (
            cosine(4),
            dict(lr=0.1, weight_decay=1e-4),
            dict(lr=0.1, weight_decay=1e-2),
            ['weight_decay 0.0001 in the ch'],
        ),
        (
            cosine(4),
            dict(lr=0.1, nesterov=False, momentum=0.9),
            dict(lr=0.1, nesterov=True, momentum=0.9),
            ['nesterov'],
        ),
    ],
)
def test_what_no_scheduler_moves_is_the_configs_too(schedulers, before, after, said, tmp_path):
    whole = run(tmp_path / 'whole', schedulers, optim=dict(optimizer=dict(type='SGD', **after)))
    run(tmp_path / 'broken', schedulers, stop_before=2, optim=dict(optimizer=dict(type='SGD', **before)))
    again = run(tmp_path / 'broken', schedulers, resume=True, optim=dict(optimizer=dict(type='SGD', **after)))
    assert again.taken == whole.taken[4:]
    groups = again.runner.optim_wrapper.optimizer.param_groups
    assert all(group[key] == value for group in groups for key, value in after.items() if key != 'lr')
    (warning,) = warnings_of(tmp_path / 'broken')
    assert all(part in warning for part in said) and 'They are set to the config.' in warning


def test_another_optimiser_than_the_checkpoints_is_refused_before_the_first_step(tmp_path):
    run(tmp_path, cosine(4), stop_before=2)
    with pytest.raises(ValueError, match='of another optimiser: it has dampening, .* has amsgrad, betas'):
        run(tmp_path, cosine(4), resume=True, optim=dict(optimizer=dict(type='AdamW', lr=0.01)))


def test_of_several_optimisers_each_is_compared_with_its_own():
    model = nn.Linear(2, 2)
    several = dict(a=torch.optim.SGD([model.weight], lr=0.1), b=torch.optim.AdamW([model.bias], lr=0.1))
    wrapper = OptimWrapperDict(**{name: OptimWrapper(optimizer) for name, optimizer in several.items()})
    runner = SimpleNamespace(optim_wrapper=wrapper, param_schedulers={}, model=model, hooks=[], _resume=True)
    saved, hook = wrapper.state_dict(), ResumeCheckHook()
    checkpoint = dict(state_dict=model.state_dict(), param_schedulers={}, optimizer=saved)
    hook.after_load_checkpoint(runner, checkpoint)
    with pytest.raises(ValueError, match='of another optimiser'):
        hook.after_load_checkpoint(runner, {**checkpoint, 'optimizer': dict(a=saved['b'], b=saved['a'])})


def test_what_follows_validation_stays_the_checkpoints_and_says_so(tmp_path):
    def plateau(factor: float) -> list[dict]:
        return [dict(type='ReduceOnPlateauLR', monitor='loss', factor=factor, patience=2, end=9)]

    run(tmp_path, plateau(0.1), epochs=2)
    state = torch.load(tmp_path / 'epoch_2.pth', weights_only=False)
    state['param_schedulers'][0].update(best=0.25, num_bad_epochs=1)
    torch.save(state, tmp_path / 'epoch_2.pth')
    again = run(tmp_path, plateau(0.5), epochs=3, resume=True)
    (warning,) = warnings_of(tmp_path)
    assert "factor 0.1 in the checkpoint, 0.5 in this run's config. The checkpoint's stay" in warning
    (scheduler,) = again.runner.param_schedulers
    assert (scheduler.factor, scheduler.best, scheduler.num_bad_epochs) == (0.1, 0.25, 1)
    run(tmp_path, plateau(0.1), epochs=4, resume=True)
    assert len(warnings_of(tmp_path)) == 1


def test_equal_settings_are_left_alone_to_the_bit(tmp_path):
    whole = run(tmp_path / 'whole', warm_up_then_cosine(4), hooks=[EpochSeedHook()])
    run(tmp_path / 'broken', warm_up_then_cosine(4), stop_before=2, hooks=[EpochSeedHook()])
    again = run(tmp_path / 'broken', warm_up_then_cosine(4), resume=True, hooks=[EpochSeedHook()])
    assert warnings_of(tmp_path / 'broken') == []
    assert again.taken == whole.taken[4:]
    expected, found = whole.runner.model.state_dict(), again.runner.model.state_dict()
    assert [key for key, value in expected.items() if not torch.equal(value, found[key])] == []


def test_resuming_a_finished_run_says_that_it_is_finished(tmp_path):
    run(tmp_path, cosine(1), epochs=1)
    again = run(tmp_path, cosine(1), epochs=1, resume=True)
    assert again.taken == []
    (warning,) = warnings_of(tmp_path)
    assert 'nothing is left to train, epoch 1 of 1 was done already' in warning and '--epochs' in warning


def test_the_base_config_has_it_where_no_position_moves():
    cfg = Config.fromfile(Path(__file__).parents[2] / 'configs' / '_base_' / 'default_runtime.py')
    assert cfg.default_hooks.resume_check.type == 'viewplug.ResumeCheckHook'
    assert isinstance(HOOKS.build(cfg.default_hooks.resume_check), ResumeCheckHook)
