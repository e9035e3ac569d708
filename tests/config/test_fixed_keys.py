"""Keys that mmengine passes over."""

import inspect

import pytest
from mmengine import Config, _strategy
from torch import nn

from viewplug.config import fixed_keys
from viewplug.config.fixed_keys import check_fixed_keys, warn_of_custom_keys

CHECKPOINT = dict(type='CheckpointHook', interval=10, max_keep_ckpts=3, by_epoch=True, save_optimizer=False)


@pytest.mark.parametrize(
    ('cfg', 'said'),
    [
        (dict(auto_scale_lr=dict(enabled=True)), '^auto_scale_lr: nothing reads enabled, did you mean enable'),
        (dict(auto_scale_lr=dict(on=True)), '^auto_scale_lr: nothing reads on; it takes base_batch_size, enable'),
        (dict(env_cfg=dict(cudnn_bnchmark=True)), '^env_cfg: nothing reads cudnn_bnchmark, did you mean cudnn_bench'),
        (
            dict(optim_wrapper=dict(paramwise_cfg=dict(norm_deay_mult=0))),
            r'^optim_wrapper\.paramwise_cfg: nothing reads norm_deay_mult, did you mean norm_decay_mult',
        ),
        (
            dict(optim_wrapper=dict(constructor='viewplug.LARSConstructor', paramwise_cfg=dict(bias_mult=0))),
            r'^optim_wrapper\.paramwise_cfg: nothing reads bias_mult',
        ),
        (
            dict(optim_wrapper=dict(paramwise_cfg=dict(custom_keys={'head.': dict(lr_mlt=0.1)}))),
            r"custom_keys\['head\.'\]: nothing reads lr_mlt, did you mean lr_mult",
        ),
        (
            dict(default_hooks=dict(param_sheduler=dict(type='ParamSchedulerHook'))),
            r'^default_hooks\.param_sheduler would be one hook more, did you mean param_scheduler\? .*custom_hooks',
        ),
        (
            dict(default_hooks=dict(checkpoint=dict(CHECKPOINT, inteval=1))),
            r'^default_hooks\.checkpoint: nothing reads inteval, did you mean interval',
        ),
        (dict(custom_hooks=[dict(CHECKPOINT, every=1)]), r'^custom_hooks\.0: nothing reads every'),
        (
            dict(runner_type='FlexibleRunner', sync_bn='torch'),
            r"^FlexibleRunner passes over sync_bn='torch': set strategy\.sync_bn, and sync_bn=None",
        ),
        (
            dict(runner_type='FlexibleRunner', strategy=dict(type='DDPStrategy'), find_unused_parameters=True),
            r'^FlexibleRunner passes over find_unused_parameters=True: set strategy\.model_wrapper',
        ),
        (
            dict(runner_type='FlexibleRunner', strategy=dict(type='SingleDeviceStrategy'), compile=True),
            r'^FlexibleRunner passes over compile=True: set speed\.compile_backbone, and compile=None',
        ),
        (
            dict(runner_type='FlexibleRunner', strategy=dict(type='DeepSpeedStrategy'), sync_bn='torch'),
            r"^FlexibleRunner passes over sync_bn='torch', and its DeepSpeedStrategy has nothing .*: set sync_bn=None$",
        ),
        (
            dict(runner_type='FlexibleRunner', strategy=dict(type='FSDPStrategy'), find_unused_parameters=True),
            r'and its FSDPStrategy has nothing in its place: set find_unused_parameters=None$',
        ),
        (
            dict(runner_type='FlexibleRunner', strategy=dict(type='FSDPStrategy', sync_bn='torch')),
            r"^strategy\.sync_bn='torch': FSDPStrategy synchronises no batch norm",
        ),
        (dict(strategy=dict(type='FSDPStrategy')), r'^strategy\.type=FSDPStrategy is read by FlexibleRunner only'),
        (
            dict(model_wrapper_cfg=dict(type='MMFullyShardedDataParallel')),
            r'^model_wrapper_cfg\.type=MMFullyShardedDataParallel: .*FSDPStrategy',
        ),
    ],
    ids=str,
)
def test_a_key_that_nothing_reads_is_named(cfg, said):
    with pytest.raises(ValueError, match=said):
        check_fixed_keys(Config(cfg))


def test_keys_for_several_processes_are_left_to_a_runner_of_one():
    check_fixed_keys(
        Config(dict(runner_type='FlexibleRunner', strategy=dict(type='SingleDeviceStrategy'), sync_bn='torch'))
    )


@pytest.mark.parametrize('cfg', [dict(strategy='cosine'), dict(model_wrapper_cfg='ddp', strategy=None)], ids=str)
def test_variables_of_a_config_that_have_a_keys_name_are_its_own(cfg):
    check_fixed_keys(Config(cfg))


def _names(strategy: type) -> set[str]:
    return {name for kind in strategy.__mro__ for name in inspect.signature(kind.__init__).parameters}


def test_what_a_strategy_is_said_to_lack_mmengines_does_not_take():
    for name, lacking in fixed_keys.HAS_NOT.items():
        taken = _names(getattr(_strategy, name))
        assert 'model_wrapper' not in taken or 'model_wrapper_cfg' not in lacking
        if issubclass(getattr(_strategy, name), _strategy.DDPStrategy):  # takes sync_bn, and wraps without heeding it
            assert 'convert_model' not in inspect.getsource(getattr(_strategy, name)._wrap_model)
        else:
            assert 'sync_bn' not in taken
    assert {'sync_bn', 'model_wrapper'} <= _names(_strategy.DDPStrategy)


def test_keys_that_are_read_are_taken():
    keys = {'predictor': dict(fix_lr=True, lr_mult=1.0), 'norm': dict(decay_mult=0.0, lars_exclude=True)}
    check_fixed_keys(
        Config(
            dict(
                auto_scale_lr=dict(base_batch_size=256, enable=True),
                env_cfg=dict(dist_cfg=dict(backend='gloo'), mp_cfg={}),
                default_hooks=dict(checkpoint=CHECKPOINT, runtime_info=None, visualization=dict(type='X')),
                custom_hooks=[dict(CHECKPOINT, priority='LOW', _scope_='mmpretrain')],
                optim_wrapper=dict(paramwise_cfg=dict(custom_keys=keys, flat_decay_mult=0.0)),
            )
        )
    )
    check_fixed_keys(Config(dict(optim_wrapper=dict(constructor='Layers', paramwise_cfg=dict(layer_decay_rate=0.7)))))


def test_custom_keys_that_name_no_parameter_are_said(monkeypatch):
    texts = []
    monkeypatch.setattr(fixed_keys, 'print_log', lambda text, *args: texts.append(text))
    paramwise = dict(custom_keys={'0.weight': {}, 'predictr': dict(fix_lr=True)})
    warn_of_custom_keys(Config(dict(optim_wrapper=dict(paramwise_cfg=paramwise))), nn.Sequential(nn.Linear(1, 1)))
    [text] = texts
    assert "custom_keys['predictr'] changes nothing" in text
