import copy
import math

import numpy as np
import pytest
import torch
from mmengine.dist import get_rank
from mmengine.registry import DefaultScope
from mmpretrain.models import NonLinearNeck, SimSiam
from processes import in_processes
from torch import nn
from toy_runs import PIPELINE, log_of, toy_runner
from toy_siamese import ToyImages, ToySiamese, loader, log_text, make_runner, scalars
from toys import ToyImages as NoiseImages

from viewplug.evaluation.representation import alignment, effective_rank, embedding_std, uniformity
from viewplug.hooks import RepresentationHealthHook
from viewplug.hooks.distillation_watch import DISTILLATION, DistillationWatch, entropy_and_information
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


K = 24
DINO_NECK = dict(type='viewplug.DINONeck', out_channels=K, hidden_channels=16, bottleneck_channels=8)


class GivenLogits(nn.Module):
    """A neck whose logits are given, one row for each image of a batch."""

    out_channels = K

    def __init__(self, logits):
        super().__init__()
        self.register_buffer('logits', logits)
        self.shift = nn.Parameter(torch.zeros(()))

    def forward(self, features):
        return (self.logits + self.shift,)


class ColouredImages(NoiseImages):
    """Each of a colour of its own, so that there is something to tell apart."""

    def prepare_data(self, idx):
        colour = np.random.RandomState(idx).randint(0, 256, 3, dtype=np.uint8)
        return self.pipeline(dict(sample_idx=idx, img=np.tile(colour, (self.size, self.size, 1))))


def self_distillation(work_dir, neck=DINO_NECK, **hook):
    """Two steps an epoch of DINO on eight images."""
    branch = dict(neck=neck, head=dict(type='viewplug.DistillHead', warmup_epochs=0))
    hooks = [RepresentationHealthHook(interval=1, warn_std=None, **hook)]
    return toy_runner(work_dir, hooks, branch=branch, dataset=ColouredImages(pipeline=PIPELINE))


def collapse_warnings(work_dir):
    return [line for line in log_of(work_dir).splitlines() if 'has collapsed to' in line]


def test_entropy_kl_and_centre_are_means_of_the_epoch_and_a_healthy_branch_is_not_warned_of(tmp_path):
    runner = self_distillation(tmp_path)
    for layer in runner.model.branches['image'].neck.mlp[::2]:
        layer.weight.data.mul_(20)  # its initialisation is for wider layers; here all images would go one way
    runner.train()
    for key in DISTILLATION:
        steps = runner.message_hub.get_scalar(f'train/image.{key}').data[0]
        epochs = runner.message_hub.get_scalar(f'health/image/{key}').data[0]
        assert np.allclose(epochs, steps.reshape(2, 2).mean(axis=1), atol=1e-6)
    lines = [line for line in scalars(tmp_path) if 'health/image/kl' in line]
    assert [line['step'] for line in lines] == [2, 4]
    assert min(line['health/image/kl'] for line in lines) > 0.1 * math.log(K)
    assert not collapse_warnings(tmp_path)


def with_equal_prototypes(runner):
    directions = runner.model.branches['image'].neck.last_layer.parametrizations.weight.original1
    directions.data.copy_(directions.data[:1].expand_as(directions))
    directions.requires_grad_(False)
    return runner


def test_a_uniform_collapse_is_warned_of_once_at_the_end_of_the_first_epoch(tmp_path):
    with_equal_prototypes(self_distillation(tmp_path)).train()
    (line,) = collapse_warnings(tmp_path)
    assert "branch 'image' has collapsed to the uniform distribution" in line and '(iteration 2)' in line
    assert 'kl 0.0000 is below warn_kl=0.01 of log K = 3.18, target_entropy is 3.1781' in line
    assert 'Try a lower teacher_temperature' in line


def test_a_collapse_to_one_prototype_is_warned_of(tmp_path):
    logits = torch.zeros(8, K)
    logits[:, 3] = 50
    self_distillation(tmp_path, GivenLogits(logits)).train()
    (line,) = collapse_warnings(tmp_path)
    assert 'has collapsed to one prototype: every image takes the same one or few' in line
    assert 'target_entropy is 0.0000' in line and 'Try a higher teacher_temperature' in line


def test_views_that_agree_on_prototypes_of_their_own_are_no_collapse(tmp_path):
    runner = self_distillation(tmp_path, GivenLogits(50 * torch.eye(8, K)))
    runner.train()
    assert runner.message_hub.get_scalar('health/image/kl').data[0].max() < 1e-4
    assert not collapse_warnings(tmp_path)


def test_without_warn_kl_a_collapse_is_written_and_not_warned_of(tmp_path):
    runner = with_equal_prototypes(self_distillation(tmp_path, warn_kl=None))
    runner.train()
    assert runner.message_hub.get_scalar('health/image/kl').data[0].max() < 1e-4
    assert not collapse_warnings(tmp_path)


def test_judging_leaves_the_batch_norm_of_a_neck_as_it_is(tmp_path):
    states = []
    for warn_kl in (0.01, None):
        torch.manual_seed(0)
        neck = dict(DINO_NECK, norm_cfg=dict(type='BN'))
        runner = with_equal_prototypes(self_distillation(tmp_path / str(warn_kl), neck, warn_kl=warn_kl))
        runner.train()
        states.append(runner.model.state_dict())
        assert runner.model.branches['image'].neck.training
    assert all(torch.equal(value, states[1][key]) for key, value in states[0].items())


def test_information_tells_rows_that_differ_from_rows_that_are_the_same():
    uniform, own, one = torch.full((K, K), 1 / K), torch.eye(K), torch.eye(K)[:1].expand(K, K)
    for distributions, expected in ((uniform, (math.log(K), 0)), (own, (0, math.log(K))), (one, (0, 0))):
        assert entropy_and_information(distributions) == pytest.approx(expected, abs=1e-5)
    assert all(math.isnan(value) for value in entropy_and_information(own[:1]))


def means_on_a_process():
    watch = DistillationWatch(warn_kl=0.01)
    for step in range(2):
        values = torch.tensor([3.0, 1.0, 2.0]) * (1 + get_rank() + step)
        watch.add({f'cls.{key}': value for key, value in zip(DISTILLATION, values, strict=True)})
    return watch.means(), watch.means()


def test_all_processes_judge_the_same_means(tmp_path):
    expected = dict(cls=dict(target_entropy=6.0, kl=2.0, center_norm=4.0))
    assert in_processes(means_on_a_process, tmp_path) == [(expected, {}), (expected, {})]
