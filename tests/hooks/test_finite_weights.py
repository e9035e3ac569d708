"""A run whose weights are lost ends before its checkpoints are."""

import os
import re
import time

import pytest
import torch
from mmengine.hooks import CheckpointHook, Hook
from torch import nn
from toy_siamese import ToySiamese, make_runner

from viewplug.hooks import DivergedError, FiniteWeightsHook
from viewplug.hooks.finite_weights import not_finite


class Break(Hook):
    """Writes ``value`` into a tensor of the model after an iteration; tells the iterations that were begun."""

    priority = 'VERY_HIGH'

    def __init__(self, name: str, value: float, iteration: int) -> None:
        self.name, self.value, self.iteration, self.begun = name, value, iteration, 0

    def before_train_iter(self, runner, batch_idx, data_batch=None) -> None:
        self.begun += 1

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None) -> None:
        if runner.iter + 1 == self.iteration:
            runner.model.state_dict()[self.name].flatten()[-1] = self.value


@pytest.mark.parametrize('value', [float('nan'), float('inf'), -float('inf')])
@pytest.mark.parametrize('name', ['neck.weight', 'target.backbone.bias', 'backbone.1.running_var'])
def test_a_tensor_that_is_not_finite_ends_the_run_with_its_name_and_the_checkpoint_before(name, value, tmp_path):
    broken = Break(name, value, 6)
    hooks = [broken, FiniteWeightsHook(), CheckpointHook(interval=1, max_keep_ckpts=1)]
    runner = make_runner(tmp_path, hooks, epochs=5)  # of two iterations
    with pytest.raises(
        DivergedError, match=rf'after iteration 6, {re.escape(name)}; the last loss was .*rate 0\.1;'
    ) as said:
        runner.train()
    kept = tmp_path / 'epoch_2.pth'
    assert f'{kept} is from before' in str(said.value) and [kept] == list(tmp_path.glob('*.pth')) and broken.begun == 6
    state = torch.load(kept, weights_only=False)['state_dict']
    assert all(tensor.isfinite().all() for tensor in state.values())


def test_it_looks_between_the_ends_of_epochs_too_and_before_each_checkpoint(tmp_path):
    broken = Break('neck.bias', float('nan'), 1)
    with pytest.raises(DivergedError, match='after iteration 1, .* no checkpoint had been written before'):
        make_runner(tmp_path / 'interval', [broken, FiniteWeightsHook(interval=1)]).train()
    hooks = [Break('neck.bias', float('nan'), 1), FiniteWeightsHook(), CheckpointHook(interval=1, by_epoch=False)]
    with pytest.raises(DivergedError, match='after iteration 1, '):
        make_runner(tmp_path / 'checkpoint', hooks).train()
    assert not list(tmp_path.glob('*/*.pth'))


def test_a_checkpoint_of_an_earlier_run_in_the_work_dir_is_not_named_and_one_that_was_resumed_is(tmp_path):
    make_runner(tmp_path, [CheckpointHook(interval=1)], epochs=1).train()
    note, old = tmp_path / 'last_checkpoint', time.time() - 60
    os.utime(note, (old, old))
    for iteration, changes, said in (
        (1, {}, 'no checkpoint had been written before'),
        (3, dict(resume=True, load_from=str(tmp_path / 'epoch_1.pth')), r'epoch_1\.pth is from before'),
    ):
        hooks = [Break('neck.bias', float('nan'), iteration), FiniteWeightsHook(interval=1)]
        with pytest.raises(DivergedError, match=said):
            make_runner(tmp_path, hooks, epochs=3, **changes).train()


def test_a_checkpoint_that_is_saved_without_training_is_not_looked_at(tmp_path):
    model = ToySiamese()
    model.register_buffer('mask', torch.full((2, 2), -float('inf')))
    runner = make_runner(tmp_path, [FiniteWeightsHook()], model=model)
    runner.call_hook('before_save_checkpoint', checkpoint=dict(meta=dict(iter=0)))


def test_nothing_is_said_of_masks_that_are_infinite_from_the_start_and_of_whole_numbers(tmp_path):
    model = ToySiamese()
    model.register_buffer('mask', torch.full((2, 2), -float('inf')))
    model.register_buffer('count', torch.tensor(2**40))
    make_runner(tmp_path / 'mask', [FiniteWeightsHook(interval=1)], model=model).train()
    assert not_finite(model) == ['mask'] and not_finite(nn.Identity()) == []


@pytest.mark.parametrize(
    ('name', 'value'), [('neck.weight', 'nan'), ('neck.weight', 'inf'), ('backbone.1.running_var', 'nan')]
)
def test_weights_that_are_lost_before_the_first_step_are_said_there(name, value, tmp_path):
    model = ToySiamese()
    model.state_dict()[name].flatten()[0] = float(value)
    with pytest.raises(DivergedError, match=f'before the first step: {name}'):
        make_runner(tmp_path, [FiniteWeightsHook()], model=model).train()


def test_large_weights_of_few_bits_are_finite():
    layer = nn.Linear(4096, 1).half()
    nn.init.constant_(layer.weight, 60_000)
    assert not_finite(layer) == []
    assert not_finite(nn.Linear(2, 2).double().requires_grad_(False)) == []
    assert not_finite(nn.LazyLinear(2)) == [] and not_finite(nn.Linear(2, 2, device='meta')) == []


def test_an_interval_below_one_is_refused():
    with pytest.raises(ValueError, match='FiniteWeightsHook: interval must be at least 1, got 0'):
        FiniteWeightsHook(0)
