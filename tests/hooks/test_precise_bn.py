"""Running statistics are the mean of the batches' own, at fixed weights, when and where the hook says."""

import pytest
import torch
from mmengine import Config
from mmengine.evaluator import BaseMetric
from mmengine.hooks import Hook
from mmengine.model import BaseModel
from mmengine.registry import DATASETS, METRICS, MODELS
from mmengine.runner import Runner
from processes import in_processes
from torch import nn
from torch.utils.data import Dataset

from viewplug.hooks import PreciseBNHook
from viewplug.hooks.precise_bn import update_statistics


@MODELS.register_module('PreciseBNToy')
class Toy(BaseModel):
    """A convolution, a batch norm that trains, and one that is frozen."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 1)
        self.norm, self.frozen = nn.BatchNorm2d(4), nn.BatchNorm2d(4)

    def train(self, mode: bool = True):
        super().train(mode)
        self.frozen.eval()
        return self

    def forward(self, inputs, mode='tensor', **kwargs):
        out = self.frozen(self.norm(self.conv(inputs)))
        return dict(loss=out.square().mean()) if mode == 'loss' else [out]


def batches(count: int, seed: int = 0) -> list[dict]:
    generator = torch.Generator().manual_seed(seed)
    return [dict(inputs=torch.randn(2, 3, 4, 4, generator=generator)) for _ in range(count)]


def mean_statistics(model: Toy, data: list[dict]) -> tuple[torch.Tensor, torch.Tensor]:
    out = [model.conv(batch['inputs']).detach() for batch in data]
    return (
        torch.stack([one.mean((0, 2, 3)) for one in out]).mean(0),
        torch.stack([one.var((0, 2, 3)) for one in out]).mean(0),
    )


def test_statistics_are_the_mean_of_the_batches_own():
    model, data = Toy().train(), batches(5)
    weights = {key: value.clone() for key, value in model.named_parameters()}
    assert update_statistics(model, data) == 1
    mean, var = mean_statistics(model, data)
    torch.testing.assert_close(model.norm.running_mean, mean)
    torch.testing.assert_close(model.norm.running_var, var)
    assert torch.equal(model.frozen.running_mean, torch.zeros(4))
    assert model.norm.momentum == 0.1
    assert all(torch.equal(value, weights[key]) and value.grad is None for key, value in model.named_parameters())


def test_nothing_to_measure_is_no_error():
    assert update_statistics(Toy().eval(), batches(1)) == 0


def test_two_processes_measure_what_one_measures(tmp_path):
    (mean, var), other = in_processes(_measure, tmp_path)
    torch.testing.assert_close(mean, other[0])
    torch.manual_seed(0)
    model = Toy().train()
    update_statistics(model, batches(3, seed=0) + batches(3, seed=1))
    torch.testing.assert_close(mean, model.norm.running_mean)
    torch.testing.assert_close(var, model.norm.running_var)


def _measure():
    torch.manual_seed(0)
    model = Toy().train()
    update_statistics(model, batches(3, seed=torch.distributed.get_rank()))
    return model.norm.running_mean, model.norm.running_var


@DATASETS.register_module()
class PreciseBNImages(Dataset):
    metainfo = {}

    def __len__(self) -> int:
        return 8

    def __getitem__(self, index: int) -> dict:
        return dict(inputs=torch.randn(3, 4, 4, generator=torch.Generator().manual_seed(index)))


@METRICS.register_module()
class PreciseBNMetric(BaseMetric):
    """What the running mean was when an evaluation began."""

    seen = []

    def process(self, data_batch, data_samples) -> None:
        self.results.append(0)

    def compute_metrics(self, results) -> dict:
        return {}


class Peek(Hook):
    def before_val(self, runner) -> None:
        PreciseBNMetric.seen.append(runner.model.norm.running_mean.clone())


def test_it_runs_before_each_evaluation_and_before_the_checkpoint(tmp_path):
    loader = dict(
        dataset=dict(type='PreciseBNImages'),
        batch_size=2,
        num_workers=0,
        sampler=dict(type='InfiniteSampler', shuffle=False),
        collate_fn=dict(type='default_collate'),
    )
    cfg = dict(
        model=dict(type='PreciseBNToy'),
        work_dir=str(tmp_path),
        train_dataloader=loader,
        val_dataloader=dict(loader, sampler=dict(type='DefaultSampler', shuffle=False), batch_size=8),
        val_evaluator=dict(type='PreciseBNMetric'),
        train_cfg=dict(type='IterBasedTrainLoop', max_iters=4, val_interval=2),
        val_cfg=dict(),
        optim_wrapper=dict(optimizer=dict(type='SGD', lr=0.1)),
        default_hooks=dict(checkpoint=dict(type='CheckpointHook', by_epoch=False, interval=4)),
        custom_hooks=[dict(type='viewplug.PreciseBNHook', num_batches=4, priority='ABOVE_NORMAL')],
        experiment_name='precise_bn',
    )
    runner = Runner.from_cfg(Config(cfg))
    runner.register_hook(Peek())
    PreciseBNMetric.seen.clear()
    runner.train()
    images = PreciseBNImages()
    data = [dict(inputs=torch.stack([images[i]['inputs'], images[i + 1]['inputs']])) for i in (0, 2, 4, 6)]
    mean, _ = mean_statistics(runner.model, data)
    first, second = PreciseBNMetric.seen
    torch.testing.assert_close(second, mean)
    assert not torch.allclose(first, second)
    saved = torch.load(tmp_path / 'iter_4.pth', weights_only=False)['state_dict']['norm.running_mean']
    torch.testing.assert_close(saved, mean)


@pytest.mark.parametrize('key, value', [('num_batches', 0), ('interval', -1), ('num_batches', 2.5)])
def test_wrong_numbers_are_named(key, value):
    with pytest.raises(ValueError, match=f'{key} must be a whole number.*got {value}'):
        PreciseBNHook(**{key: value})
