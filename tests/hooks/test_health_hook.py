import copy

import numpy as np
import pytest
import torch
from mmengine.registry import DefaultScope
from mmpretrain.models import NonLinearNeck, SimSiam
from torch import nn
from toy_siamese import ToyImages, ToySiamese, loader, log_text, make_runner, scalars

from viewplug.evaluation.representation import alignment, effective_rank, embedding_std, uniformity
from viewplug.hooks import RepresentationHealthHook
from viewplug.hooks.health import measure

HOOK = dict(type='viewplug.RepresentationHealthHook', interval=2)
Z = torch.randn(24, 8, generator=torch.Generator().manual_seed(0))


def health_lines(work_dir):
    return [line for line in scalars(work_dir) if any(key.startswith('health/') for key in line)]


def test_healthy_embeddings_are_logged_and_not_warned_of(tmp_path):
    runner = make_runner(tmp_path, [{**HOOK, 'warn_std': 0.01, 'warn_rank': 1.0}])
    runner.train()
    lines = health_lines(tmp_path)
    assert [line['step'] for line in lines] == [2, 4]
    keys = {f'health/image/{key}' for key in ('std', 'effective_rank', 'alignment', 'uniformity')}
    assert all(keys < set(line) for line in lines)
    latest = runner.model.latest['image']
    assert np.isclose(lines[-1]['health/image/std'], embedding_std(latest['online'][0]), atol=1e-5)
    assert len(runner.message_hub.get_scalar('health/image/std').data[0]) == 2
    assert 'collapsing' not in log_text(tmp_path)


def test_collapse_is_warned_of_once_with_branch_value_threshold_and_what_to_try(tmp_path):
    runner = make_runner(tmp_path, [{**HOOK, 'interval': 1}], ToySiamese(collapsed=True), epochs=3)
    runner.train()
    text = log_text(tmp_path)
    assert text.count('is collapsing') == 1
    line = next(line for line in text.splitlines() if 'is collapsing' in line)
    assert "branch 'image'" in line and 'std 0.000 is below warn_std=0.1' in line and 'Try ' in line
    assert '(iteration 2)' in line  # the end of the first epoch of two iterations


def test_collapse_inside_a_long_first_epoch_is_warned_of(tmp_path):
    runner = make_runner(tmp_path, [{**HOOK, 'interval': 1, 'warn_from': 1}], ToySiamese(collapsed=True))
    runner.train()
    line = next(line for line in log_text(tmp_path).splitlines() if 'is collapsing' in line)
    assert '(iteration 1)' in line  # epochs have two


def test_low_rank_is_warned_of_where_the_batch_is_large_enough_and_none_is_silent(tmp_path):
    hook = RepresentationHealthHook(warn_std=None)
    line = torch.randn(32, 1) * torch.randn(1, 16)
    said = []
    hook._warn_once = lambda runner, about, sentence: said.append(sentence)
    for embeddings in (line, line[:4]):
        branch = dict(online={0: embeddings}, target={})
        hook._judge(None, 'image', branch, measure(branch))
    assert len(said) == 1 and 'effective rank 1.0' in said[0] and 'warn_rank=2.0' in said[0]
    broken = dict(online={0: line * float('nan')}, target={})
    hook._judge(None, 'image', broken, measure(broken))
    assert 'not finite' in said[-1]
    silent = RepresentationHealthHook(warn_std=None, warn_rank=None)
    silent._warn_once = hook._warn_once
    silent._judge(None, 'image', dict(online={0: line}, target={}), measure(dict(online={0: line}, target={})))
    assert len(said) == 2


def test_pairs_are_views_of_the_same_images_with_different_numbers():
    branch = dict(online={0: Z, 1: Z + 1}, target={0: Z + 2, 1: Z + 3})
    values = measure(branch)
    both = (alignment(Z, Z + 3) + alignment(Z + 1, Z + 2)) / 2
    assert np.isclose(values['alignment'], both, atol=1e-6)
    even = np.mean([uniformity(side) for side in (Z, Z + 1, Z + 2, Z + 3)])
    assert np.isclose(values['uniformity'], even, atol=1e-6)
    together = torch.cat([Z, Z + 1])
    assert np.isclose(values['effective_rank'], effective_rank(together), rtol=1e-5)
    assert set(measure(dict(online={0: Z}, target={0: Z}))) == {'std', 'effective_rank'}
    assert measure(dict(online={0: Z[:1]}, target={})) == {}
    maps = dict(online={0: torch.randn(2, 8, 3, 3)}, target={1: torch.randn(2, 8, 3, 3)})
    assert set(measure(maps)) == {'std', 'effective_rank'}


class Backbone(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3, stride=2)

    def forward(self, x):
        return (self.conv(x).relu(),)


def stock_simsiam():
    head = dict(
        type='LatentPredictHead',
        loss=dict(type='CosineSimilarityLoss'),
        predictor=dict(
            type='NonLinearNeck',
            in_channels=8,
            hid_channels=4,
            out_channels=8,
            with_avg_pool=False,
            norm_cfg=dict(type='BN1d'),
        ),
    )
    neck = NonLinearNeck(8, 8, 8, num_layers=2, norm_cfg=dict(type='BN1d'))
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        return SimSiam(Backbone(), neck, head)


def test_a_stock_mmpretrain_model_is_measured_behind_its_neck(tmp_path):
    model = stock_simsiam()
    hooks_before = copy.copy(model.neck._forward_hooks)
    make_runner(tmp_path, [HOOK], model).train()
    lines = health_lines(tmp_path)
    assert len(lines) == 2
    assert set(lines[0]) - {'step'} == {'health/neck/std', 'health/neck/effective_rank'}
    assert model.neck._forward_hooks == hooks_before


def test_a_model_with_nothing_to_measure_is_said_once(tmp_path):
    model = ToySiamese()
    model.neck, model.projector = None, model.neck
    model.forward = lambda inputs, data_samples, mode: dict(loss=sum(p.sum() for p in model.parameters()) * 0)
    make_runner(tmp_path, [HOOK], model, train=loader(ToyImages())).train()
    assert log_text(tmp_path).count('it measures nothing') == 1


def test_the_interval_must_be_positive():
    with pytest.raises(ValueError, match='interval.*-1'):
        RepresentationHealthHook(interval=-1)
