"""LateRuntimeInfoHook: the stock hook's log and checkpoints to the digit; losses are read for them only."""

import json

import pytest
import torch
from mmengine.hooks import CheckpointHook, Hook, LoggerHook, RuntimeInfoHook
from toy_runs import PIPELINE, toy_runner
from toys import ToyImages

from viewplug.hooks import LateRuntimeInfoHook

EPOCHS = dict(by_epoch=True, max_epochs=2)
ITERATIONS = dict(type='IterBasedTrainLoop', max_iters=12)


class Unread(Hook):
    """How many of the losses the message hub has not got yet, after each iteration."""

    priority = 'LOWEST'

    def __init__(self) -> None:
        self.counts = []

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None) -> None:
        scalars = runner.message_hub.log_scalars
        read = len(scalars['train/loss'].data[0]) if 'train/loss' in scalars else 0
        self.counts.append(runner.iter + 1 - read)


def run(work_dir, runtime_info, loop, logger, checkpoint, hooks=()):
    """The run's scalars, but for times, and the message hubs of its checkpoints."""
    by_epoch = loop is EPOCHS
    toy_runner(
        work_dir,
        hooks,
        dataset=ToyImages(number=56, pipeline=PIPELINE),
        train_cfg=loop,
        default_hooks=dict(
            runtime_info=runtime_info(),
            logger=LoggerHook(**logger, log_metric_by_epoch=by_epoch),
            checkpoint=CheckpointHook(interval=checkpoint, by_epoch=by_epoch),
        ),
        log_processor=dict(window_size=4, by_epoch=by_epoch),
    ).train()
    [log] = work_dir.glob('*/vis_data/scalars.json')
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    hubs = {path.name: torch.load(path, weights_only=False)['message_hub'] for path in work_dir.glob('*.pth')}
    numbers = {
        name: {key: list(buffer.data[0]) for key, buffer in hub['log_scalars'].items() if 'time' not in key}
        for name, hub in hubs.items()
    }
    return [{key: value for key, value in line.items() if 'time' not in key} for line in lines], numbers


@pytest.mark.parametrize('loop', [EPOCHS, ITERATIONS], ids=['epochs', 'iterations'])
@pytest.mark.parametrize(
    ('logger', 'checkpoint'),
    [
        (dict(interval=3), 1),
        (dict(interval=3, ignore_last=False), 2),
        (dict(interval=50), 5),
    ],
)
def test_log_and_checkpoints_are_the_stock_hooks(loop, logger, checkpoint, tmp_path):
    stock = run(tmp_path / 'stock', RuntimeInfoHook, loop, logger, checkpoint)
    late = run(tmp_path / 'late', LateRuntimeInfoHook, loop, logger, checkpoint)
    assert late == stock
    lines, hubs = stock
    assert any('loss' in line for line in lines) or logger['interval'] == 50
    assert hubs or checkpoint > 2
    assert all(numbers['train/loss'] for numbers in hubs.values())


def test_losses_wait_for_the_log(tmp_path):
    unread = Unread()
    run(tmp_path, LateRuntimeInfoHook, EPOCHS, dict(interval=3), 1, hooks=[unread])
    assert unread.counts == [1, 2, 0, 1, 2, 0, 0] * 2  # an epoch has seven iterations


def test_a_kept_number_is_the_steps_own(tmp_path):
    """What a model logs may be a buffer that the next step overwrites."""
    default_hooks = dict(runtime_info=LateRuntimeInfoHook(), logger=LoggerHook(interval=50))
    runner = toy_runner(tmp_path, default_hooks=default_hooks)
    hook = next(hook for hook in runner.hooks if isinstance(hook, LateRuntimeInfoHook))
    hook.before_run(runner)
    runner._train_loop = runner.build_train_loop(runner._train_loop)
    buffer = torch.zeros((), requires_grad=True) + 1
    for batch in range(3):
        hook.after_train_iter(runner, batch_idx=10 + batch, outputs=dict(scale=buffer, rate=0.5))
        with torch.no_grad():
            buffer += 1
        assert not any(value.requires_grad for value in hook._kept[-1].values() if isinstance(value, torch.Tensor))
    hook.before_val(runner)
    assert list(runner.message_hub.get_scalar('train/scale').data[0]) == [1, 2, 3]
    assert list(runner.message_hub.get_scalar('train/rate').data[0]) == [0.5] * 3
