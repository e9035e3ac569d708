"""InitFromSSL in a run: beside an EMA, on resume, under DDP."""

import os

import torch
from checkpoints import pretrained
from mmengine.hooks import EMAHook, Hook
from mmengine.model import BaseModel
from mmengine.registry import MODELS
from mmengine.runner import Runner
from processes import in_processes
from torch import nn
from toy_runs import numbers
from toys import toy_resnet


class Toy(BaseModel):
    """A backbone and a line on top."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone = MODELS.build(toy_resnet())
        self.head = nn.Linear(64, 1)

    def forward(self, inputs, mode='tensor'):
        loss = self.head(self.backbone(inputs)[-1].mean((2, 3))).mean()
        return dict(loss=loss)


class Still(Hook):
    """Keeps the backbone as it is at the first step, and the EMA's after it."""

    priority = 'LOWEST'

    def before_train_iter(self, runner, batch_idx, data_batch=None) -> None:
        if batch_idx == 0 and runner.epoch == 0:
            model = runner.model.module if hasattr(runner.model, 'module') else runner.model
            self.start = {key: value.clone() for key, value in model.backbone.state_dict().items()}

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None) -> None:
        for hook in runner.hooks:
            if isinstance(hook, EMAHook):
                self.average = {key: value.clone() for key, value in hook.ema_model.module.state_dict().items()}


def toy_run(folder, hooks, epochs: int = 1, **changes):
    still = Still()
    runner = Runner(
        model=Toy(),
        work_dir=str(folder),
        experiment_name=f'init_{next(numbers)}',
        train_dataloader=dict(
            batch_size=4,
            num_workers=0,
            dataset=[dict(inputs=torch.randn(3, 32, 32)) for _ in range(8)],
            sampler=dict(type='DefaultSampler', shuffle=False),
            collate_fn=dict(type='default_collate'),
        ),
        train_cfg=dict(by_epoch=True, max_epochs=epochs),
        optim_wrapper=dict(optimizer=dict(type='SGD', lr=0.0)),
        default_hooks=dict(checkpoint=dict(type='CheckpointHook', interval=1)),
        custom_hooks=[*hooks, still],
        log_level='WARNING',
        **changes,
    )
    runner.train()
    return runner, still


def test_a_run_starts_from_the_file_and_so_does_its_ema(tmp_path):
    state = pretrained(tmp_path / 'v.pth')
    hooks = [dict(type='EMAHook'), dict(type='viewplug.InitFromSSL', checkpoint=str(tmp_path / 'v.pth'))]
    _, still = toy_run(tmp_path / 'run', hooks)
    for key, value in still.start.items():
        assert torch.equal(value, state[f'backbone.{key}']), key
    for key, value in still.average.items():
        if key.startswith('backbone.') and 'running' not in key and 'tracked' not in key:
            assert torch.allclose(value, state[key], atol=1e-6), key


def test_a_resumed_run_keeps_what_it_has_learnt_and_a_resume_without_a_checkpoint_starts_from_the_file(tmp_path):
    state = pretrained(tmp_path / 'v.pth')
    hook = dict(type='viewplug.InitFromSSL', checkpoint=str(tmp_path / 'v.pth'))
    (tmp_path / 'run').mkdir()
    runner, still = toy_run(tmp_path / 'run', [hook], resume=True)
    assert torch.equal(still.start['conv1.weight'], state['backbone.conv1.weight'])
    path = tmp_path / 'run/epoch_1.pth'
    saved = torch.load(path, weights_only=False)
    saved['state_dict']['backbone.conv1.weight'] += 5
    torch.save(saved, path)
    (tmp_path / 'run/last_checkpoint').write_text(str(path))
    runner, _ = toy_run(tmp_path / 'run', [hook], epochs=2, resume=True)
    assert torch.equal(runner.model.backbone.conv1.weight, state['backbone.conv1.weight'] + 5)


def _start_under_ddp(folder) -> tuple:
    os.environ['LOCAL_RANK'] = str(torch.distributed.get_rank())
    torch.manual_seed(torch.distributed.get_rank())
    hook = dict(type='viewplug.InitFromSSL', checkpoint=f'{folder}/v.pth')
    check = dict(type='viewplug.TransferCheckHook')
    wrapper = dict(type='MMDistributedDataParallel', device_ids=None, broadcast_buffers=False)
    cfg = dict(model_wrapper_cfg=wrapper)
    _, still = toy_run(
        f'{folder}/run', [hook, check], launcher='pytorch', cfg=cfg, env_cfg=dict(dist_cfg=dict(backend='gloo'))
    )
    return still.start


def test_two_processes_under_ddp_both_start_from_the_file(tmp_path):
    state = pretrained(tmp_path / 'v.pth')
    for start in in_processes(_start_under_ddp, tmp_path, str(tmp_path)):
        assert len(start) == 120
        for key, value in start.items():
            assert torch.equal(value, state[f'backbone.{key}']), key
