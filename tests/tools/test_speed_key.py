"""The config key ``speed`` and ``--amp`` of tools/train.py, as its users meet them."""

from argparse import Namespace
from pathlib import Path

import mmpretrain
import pytest
import torch
from mmengine import Config

from viewplug.amp import CPUAmpOptimWrapper
from viewplug.hooks import StepSpeedHook
from viewplug.run.launch import UserError, read_config, train

ROOT = Path(__file__).resolve().parents[2]
MOCO = ROOT / 'configs/mocov2_r50.py'
STOCK = Path(mmpretrain.__file__).parent / '.mim/configs/simsiam/simsiam_resnet50_8xb32-coslr-100e_in1k.py'
ALL = dict(channels_last='auto', compile_backbone='auto', fused_optimizer='auto')
on_cpu = pytest.mark.skipif(torch.cuda.is_available(), reason='there is a GPU')


def arguments(config, work_dir='work', options=(), **changes):
    given = dict(demo=False, stages=False, data_root=None, amp=None, resume=None, epochs=None, launcher='none')
    return Namespace(config=str(config), work_dir=str(work_dir), cfg_options=dict(options), **{**given, **changes})


def speed_hooks(config, **options) -> list[dict]:
    cfg = read_config(str(config), arguments(config, options=options))
    found = [hook for hook in cfg.get('custom_hooks', []) if hook['type'] in (StepSpeedHook, 'viewplug.StepSpeedHook')]
    return [{key: value for key, value in hook.items() if key != 'type'} for hook in found]


def written(tmp_path, config, text) -> Path:
    path = tmp_path / 'config.py'
    path.write_text(f'_base_ = [{str(config)!r}]\n{text}\n')
    return path


@pytest.mark.parametrize('config', [MOCO, STOCK])
def test_one_option_of_the_command_line_adds_the_hook_to_any_config(config, tmp_path):
    path = written(tmp_path, config, '')
    others = len(Config.fromfile(path).get('custom_hooks', []))
    cfg = read_config(str(path), arguments(path, options={'speed.channels_last': True}))
    assert cfg.custom_hooks[-1]['channels_last'] is True and cfg.custom_hooks[-1]['type'] == 'viewplug.StepSpeedHook'
    assert len(cfg.custom_hooks) == others + 1 or 'speed' in Config.fromfile(path)


def test_auto_is_all_switches_on_auto_and_one_of_them_can_be_set_apart(tmp_path):
    path = written(tmp_path, STOCK, "speed = 'auto'")
    assert speed_hooks(path) == [ALL]
    assert speed_hooks(path, **{'speed.fused_optimizer': True}) == [dict(ALL, fused_optimizer=True)]
    assert speed_hooks(STOCK, speed='auto') == [ALL]
    assert speed_hooks(path, speed=None) == []
    assert speed_hooks(STOCK) == []


def test_arguments_of_torch_compile_can_be_options():
    options = {'speed.compile_backbone.mode': 'default', 'speed.compile_backbone.dynamic': False}
    (hook,) = speed_hooks(STOCK, **options)
    assert hook == dict(compile_backbone=dict(mode='default', dynamic=False))
    assert StepSpeedHook(**hook).switches['compile_backbone'] == hook['compile_backbone']


@pytest.mark.parametrize('kind', ['viewplug.StepSpeedHook', StepSpeedHook])
def test_a_hook_that_the_config_has_is_updated_and_no_second_one_added(kind, tmp_path):
    cfg = Config(dict(Config.fromfile(STOCK)))
    cfg.custom_hooks = [dict(type='viewplug.StepSpeedHook', tf32=True)]
    cfg.speed = dict(channels_last=True)
    path = tmp_path / 'config.py'
    cfg.dump(path)
    if kind is StepSpeedHook:  # a pure-Python config names the class itself
        text = path.read_text().replace("'viewplug.StepSpeedHook'", 'StepSpeedHook')
        path.write_text('from viewplug.hooks import StepSpeedHook\n' + text)
    assert speed_hooks(path) == [dict(tf32=True, channels_last=True)]


@pytest.mark.parametrize(
    ('speed', 'sentence'),
    [
        (dict(chanels_last=True, channels_last=True), 'speed takes the keys channels_last, .*tf32, got chanels_last'),
        ('fast', "speed must be 'auto' or a dict .*got 'fast'"),
        (True, "speed must be 'auto' or a dict .*got True"),
    ],
)
def test_what_speed_cannot_be_is_answered_with_a_sentence(speed, sentence):
    with pytest.raises(UserError, match=sentence):
        read_config(str(STOCK), arguments(STOCK, options=dict(speed=speed)))


TINY = {
    'train_dataloader.batch_size': 8,
    'train_dataloader.num_workers': 0,
    'train_dataloader.dataset.num_images': 24,
    'train_dataloader.dataset.image_size': 32,
    'model.backbone.base_channels': 16,
    'model.backbone.stem_channels': 16,
    'model.branches.image.head.queue_len': 20,
    'default_hooks.checkpoint.interval': 1,
    **{f'custom_hooks.0.{one}_dataloader.dataset.num_images': 24 for one in ('train', 'val')},
}


def demo(tmp_path, options=(), **changes):
    train(arguments(MOCO, tmp_path, {**TINY, **dict(options)}, demo=True, epochs=1, **changes))
    log = '\n'.join(path.read_text() for path in tmp_path.glob('2*/*.log'))
    return torch.load(tmp_path / 'epoch_1.pth', weights_only=False), log


def test_a_run_says_what_is_on(tmp_path):
    _, log = demo(tmp_path, {'speed.channels_last': True, 'speed.compile_backbone': False})
    assert 'StepSpeedHook on ' in log and 'channels_last on, compile_backbone off, fused_optimizer' in log


def test_a_wrong_value_is_one_sentence_before_the_first_step(tmp_path):
    with pytest.raises(UserError, match="channels_last must be True or False or 'auto', got 'maybe'"):
        demo(tmp_path, {'speed.channels_last': 'maybe'})


@on_cpu
def test_bf16_on_a_cpu_trains_under_autocast_with_float32_weights(tmp_path, monkeypatch):
    dtypes = []
    forward = torch.nn.BatchNorm2d.forward
    monkeypatch.setattr(torch.nn.BatchNorm2d, 'forward', lambda self, x: dtypes.append(x.dtype) or forward(self, x))
    plain, _ = demo(tmp_path / 'plain')
    assert set(dtypes) == {torch.float32}
    dtypes.clear()
    checkpoint, log = demo(tmp_path / 'bf16', amp='bf16')
    assert torch.bfloat16 in dtypes
    assert {value.dtype for value in checkpoint['state_dict'].values()} == {torch.float32, torch.int64}
    assert checkpoint['state_dict']['backbone.conv1.weight'].isfinite().all()
    key = 'backbone.conv1.weight'
    assert not torch.equal(checkpoint['state_dict'][key], plain['state_dict'][key])
    assert "type='viewplug.CPUAmpOptimWrapper'" in log


@on_cpu
def test_bf16_on_a_cpu_takes_over_an_amp_config_with_accumulation(tmp_path):
    text = "optim_wrapper = dict(type='AmpOptimWrapper', loss_scale='dynamic', accumulative_counts=2)"
    path = written(tmp_path, STOCK, text)
    cfg = read_config(str(path), arguments(path, amp='bf16'))
    assert cfg.optim_wrapper.type == 'viewplug.CPUAmpOptimWrapper' and cfg.optim_wrapper.accumulative_counts == 2
    cfg.optim_wrapper.pop('optimizer')
    cfg.optim_wrapper.pop('type')
    cfg.optim_wrapper.pop('paramwise_cfg', None)
    weight = torch.nn.Linear(4, 4)
    wrapper = CPUAmpOptimWrapper(optimizer=torch.optim.SGD(weight.parameters(), lr=0.1), **cfg.optim_wrapper)
    with wrapper.optim_context(weight):
        found = weight(torch.ones(2, 4))
    assert found.dtype == torch.bfloat16
    before = weight.weight.clone()
    wrapper.update_params(found.float().sum())
    assert torch.equal(weight.weight, before)
    wrapper.update_params(weight(torch.ones(2, 4)).sum())
    assert not torch.equal(weight.weight, before)


@on_cpu
def test_fp16_on_a_cpu_is_refused_with_the_way_out():
    with pytest.raises(UserError, match='--amp fp16 is for GPUs.*--amp bf16'):
        read_config(str(MOCO), arguments(MOCO, amp='fp16'))
