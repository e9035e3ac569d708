"""tools/check_transfer.py and tools/export.py as their users meet them, and --init of tools/train.py."""

import importlib.util
import json
import os
import subprocess
import sys
from argparse import Namespace
from pathlib import Path

import pytest
import torch
from checkpoints import NORMALISATION, faster_rcnn, plain, pretrained, small_resnet
from mmengine import Config
from mmengine.config import ConfigDict
from toys import mlp_branch, toy_resnet

from viewplug.registry import HOOKS, MODELS
from viewplug.run.launch import UserError, read_config, train
from viewplug.transfer.start_from import start_from

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def ckpt(tmp_path):
    text = Config(dict(data_preprocessor=NORMALISATION, model=dict(backbone=toy_resnet()))).pretty_text
    return tmp_path / 'v.pth', pretrained(tmp_path / 'v.pth', config=text)


def call(name, monkeypatch, *args) -> int:
    spec = importlib.util.spec_from_file_location(name, ROOT / f'tools/{name}.py')
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(sys, 'argv', [f'{name}.py', *map(str, args)])
    return module.main()


def config(tmp_path, init_cfg=None, **changes) -> Path:
    """A detector's config file."""
    model = faster_rcnn(small_resnet(**({'init_cfg': init_cfg} if init_cfg else {})))
    Config(dict(model=model, default_scope='mmdet', **changes)).dump(tmp_path / 'det.py')
    return tmp_path / 'det.py'


def test_a_config_that_would_load_prints_its_table_and_exits_with_0(ckpt, tmp_path, monkeypatch, capsys):
    path = config(tmp_path, plain('anywhere.pth'))
    assert call('check_transfer', monkeypatch, path, ckpt[0]) == 0
    out = capsys.readouterr().out
    assert 'backbone  backbone.    120     0 ' in out and 'ERROR' not in out


def test_a_stock_config_without_a_prefix_exits_with_2_and_names_the_key(ckpt, tmp_path, monkeypatch, capsys):
    path = config(tmp_path, plain('torchvision://resnet18', None))
    assert call('check_transfer', monkeypatch, path, ckpt[0]) == 2
    out = capsys.readouterr().out
    assert 'ERROR: backbone: none of its 100 tensors' in out
    assert "Set model.backbone.init_cfg.prefix='backbone.' (now '')" in out
    assert call('check_transfer', monkeypatch, path, ckpt[0], '--init') == 0
    assert 'backbone  backbone.    120     0 ' in capsys.readouterr().out


def test_a_wrong_prefix_or_depth_or_a_config_without_a_source_exits_with_2(ckpt, tmp_path, monkeypatch, capsys):
    path = config(tmp_path, plain('x.pth', 'encoder.'))
    assert call('check_transfer', monkeypatch, path, ckpt[0]) == 2
    assert "prefix='encoder.' is not in" in capsys.readouterr().err
    options = ['--cfg-options', 'model.backbone.init_cfg.prefix=backbone.', 'model.backbone.depth=34']
    assert call('check_transfer', monkeypatch, path, ckpt[0], *options) == 2
    assert 'ERROR: backbone: 80 of 180 tensors' in capsys.readouterr().out
    assert call('check_transfer', monkeypatch, config(tmp_path), ckpt[0]) == 2
    assert 'backbone is set to come from nowhere' in capsys.readouterr().err


def test_mistakes_in_a_config_are_sentences_that_name_the_key(ckpt, tmp_path, monkeypatch, capsys):
    path = config(tmp_path, plain('x.pth'))
    assert call('check_transfer', monkeypatch, path, ckpt[0], '--cfg-options', 'model.backbone.depht=18') == 2
    assert 'model.backbone.depht: ResNet has no argument depht, did you mean depth?' in capsys.readouterr().err
    assert call('check_transfer', monkeypatch, path, ckpt[0], '--cfg-options', 'modle.backbone.depth=18') == 2
    assert 'the config has no modle and nothing would read it, did you mean model?' in capsys.readouterr().err
    (tmp_path / 'child.py').write_text("_base_ = 'det.py'\nmodel = dict(type=dict(a=1))\n")
    assert call('check_transfer', monkeypatch, tmp_path / 'child.py', ckpt[0]) == 2
    assert 'child.py cannot be read: TypeError: type=' in capsys.readouterr().err


@pytest.mark.parametrize(('changes', 'status'), [({}, 0), (dict(depth=34), 2)])
def test_a_pre_training_config_is_checked_with_what_init_gives_it(changes, status, ckpt, tmp_path, monkeypatch, capsys):
    model = dict(type='viewplug.Siamese', backbone={**toy_resnet(), **changes}, branches=dict(image=mlp_branch()))
    model['target'] = dict(type='viewplug.MomentumTarget')
    Config(dict(model=model, default_scope='mmpretrain')).dump(tmp_path / 'pre.py')
    assert call('check_transfer', monkeypatch, tmp_path / 'pre.py', ckpt[0], '--init') == status
    assert 'backbone  backbone.    120     0 ' in capsys.readouterr().out


@pytest.mark.parametrize(('changes', 'status'), [({}, 0), (dict(depth=34), 2)])
def test_the_file_stands_in_for_load_from_too(changes, status, ckpt, tmp_path, monkeypatch, capsys):
    Config(dict(model=faster_rcnn(small_resnet(**changes)), default_scope='mmdet', load_from='x.pth')).dump(
        tmp_path / 'det.py'
    )
    assert call('check_transfer', monkeypatch, tmp_path / 'det.py', ckpt[0]) == status
    out = capsys.readouterr().out
    assert 'backbone  backbone.    120     0 ' in out and ('ERROR: backbone: 80 of 180' in out) == bool(status)


def test_layers_that_are_to_be_new_are_named_on_the_command_line(tmp_path, monkeypatch, capsys):
    network = dict(type='mmpretrain.ConvNeXt', arch=dict(depths=[1] * 4, channels=[8, 16, 24, 32]))
    torch.save({f'backbone.{key}': value for key, value in MODELS.build(network).state_dict().items()}, tmp_path / 'v')
    backbone = dict(network, out_indices=[2, 3], gap_before_final_norm=False, init_cfg=plain('x.pth'))
    model = dict(type='ImageClassifier', backbone=backbone)
    Config(dict(model=model, default_scope='mmpretrain')).dump(tmp_path / 'c.py')
    assert call('check_transfer', monkeypatch, tmp_path / 'c.py', tmp_path / 'v') == 2
    assert "TransferCheckHook(new=['norm2'])" in capsys.readouterr().out
    assert call('check_transfer', monkeypatch, tmp_path / 'c.py', tmp_path / 'v', '--new', 'norm2') == 0


def test_the_hooks_of_a_config_say_what_is_loaded_and_what_is_required(ckpt, tmp_path, monkeypatch, capsys):
    hooks = [
        dict(type='viewplug.InitFromSSL', checkpoint='', momentum=True),
        dict(type='viewplug.TransferCheckHook', required=['backbone', 'neck']),
    ]
    path = config(tmp_path, custom_hooks=hooks)
    assert call('check_transfer', monkeypatch, path, ckpt[0]) == 2
    assert 'neck is set to come from nowhere' in capsys.readouterr().err
    assert call('check_transfer', monkeypatch, path, ckpt[0], '--required', 'backbone') == 0
    assert 'backbone  target.backbone.  120 ' in capsys.readouterr().out


def test_no_file_no_config_and_a_malicious_file_are_sentences(tmp_path, monkeypatch, capsys):
    path = config(tmp_path, plain('x.pth'))
    assert call('check_transfer', monkeypatch, path, tmp_path / 'none.pth') == 2
    assert capsys.readouterr().err.startswith('error: no checkpoint')
    assert call('check_transfer', monkeypatch, tmp_path / 'none.py', tmp_path / 'none.pth') == 2
    assert capsys.readouterr().err.startswith('error: no config file')
    torch.save(dict(state_dict=dict(x=torch.zeros(1)), meta=os.system), tmp_path / 'bad.pth')
    assert call('check_transfer', monkeypatch, path, tmp_path / 'bad.pth') == 2
    assert 'system, and a checkpoint is data' in capsys.readouterr().err


def test_export_writes_the_file_and_its_card_and_says_how_to_load(ckpt, tmp_path, monkeypatch, capsys):
    out = tmp_path / 'r.pth'
    assert call('export', monkeypatch, ckpt[0], out, '--format', 'mmdet', '--momentum') == 0
    printed = capsys.readouterr().out
    assert "momentum backbone (under 'target.backbone.'), 3 epochs" in printed and f"checkpoint='{out}'" in printed
    state = torch.load(out, weights_only=True)['state_dict']
    assert torch.equal(state['conv1.weight'], ckpt[1]['target.backbone.conv1.weight'])
    assert json.loads(Path(f'{out}.json').read_text())['momentum'] is True
    assert call('export', monkeypatch, tmp_path / 'none.pth', out, '--format', 'mmdet') == 2
    assert capsys.readouterr().err.startswith('error: no checkpoint')


def arguments(path, tmp_path, init, **changes) -> Namespace:
    given = dict(config=str(path), work_dir=str(tmp_path / 'work'), cfg_options={}, init=init and str(init))
    defaults = dict(demo=False, stages=False, data_root=None, amp=None, resume=None, epochs=None, launcher='none')
    return Namespace(**{**defaults, **given, **changes})


def test_init_gives_a_detector_the_hooks_and_takes_its_own_initialiser_away(ckpt, tmp_path):
    path = config(tmp_path, plain('torchvision://resnet18', None), custom_hooks=[dict(type='EMAHook')])
    cfg = read_config(path, arguments(path, tmp_path, ckpt[0]))
    assert [hook.type for hook in cfg.custom_hooks] == ['EMAHook', 'viewplug.InitFromSSL', 'viewplug.TransferCheckHook']
    assert cfg.custom_hooks[1].checkpoint == str(ckpt[0]) and cfg.custom_hooks[1].modules == dict(backbone='auto')
    assert cfg.custom_hooks[2].required == ['backbone'] and 'init_cfg' not in cfg.model.backbone
    plain_cfg = read_config(path, arguments(path, tmp_path, None))
    assert 'init_cfg' in plain_cfg.model.backbone and len(plain_cfg.custom_hooks) == 1


def test_init_fills_the_hook_that_a_config_has_and_follows_its_prefixes(ckpt, tmp_path):
    hook = dict(type='viewplug.InitFromSSL', checkpoint='', modules=['backbone'], momentum=True)
    path = config(tmp_path, custom_hooks=[hook])
    cfg = read_config(path, arguments(path, tmp_path, ckpt[0]))
    assert cfg.custom_hooks[0] == dict(hook, checkpoint=str(ckpt[0])) and len(cfg.custom_hooks) == 2
    model = faster_rcnn(small_resnet(init_cfg=plain('x', 'target.backbone.')))
    model.neck.init_cfg = plain('x', 'branches.region.neck.fpn.')
    model.roi_head.shared_head = dict(type='ResLayer', depth=50, stage=3)
    cfg = Config(dict(model=model))
    start_from(cfg, str(ckpt[0]))
    writer, check = cfg.custom_hooks
    assert set(writer.modules) == {'backbone', 'neck', 'roi_head.shared_head'} and writer.momentum
    assert check.required == ['backbone', 'roi_head.shared_head.layer4']


def test_init_sets_load_from_in_a_pre_training_config(ckpt, tmp_path):
    path = ROOT / 'configs/mocov2_r50.py'
    cfg = read_config(path, arguments(path, tmp_path, ckpt[0]))
    assert cfg.load_from == str(ckpt[0]) and cfg.custom_hooks[-1].type == 'viewplug.CarryOverHook'
    path = ROOT / 'configs/mocov2_hcl_r50.py'
    cfg = read_config(path, arguments(path, tmp_path, ckpt[0]))
    assert [hook.type for hook in cfg.custom_hooks].count('viewplug.CarryOverHook') == 1
    with pytest.raises(UserError, match='--stages starts the second stage from the first, and --init from a file'):
        train(arguments(path, tmp_path, ckpt[0], stages=True))


@pytest.mark.parametrize('config', ['mocov2_r50.py', 'mocov2_hcl_r50.py'])
def test_init_writes_a_file_of_others_into_backbone_and_target_of_a_pre_training_run(config, tmp_path):
    weights = MODELS.build(toy_resnet()).state_dict()
    weights = {name: torch.randn_like(value) if value.is_floating_point() else value for name, value in weights.items()}
    torch.save(weights, tmp_path / 'others.pth')
    path = ROOT / f'configs/{config}'
    cfg = read_config(path, arguments(path, tmp_path, tmp_path / 'others.pth'))
    kinds = [hook.type for hook in cfg.custom_hooks]
    assert cfg.load_from is None and 'viewplug.CarryOverHook' not in kinds
    assert kinds[-2:] == ['viewplug.InitFromSSL', 'viewplug.TransferCheckHook']
    cfg.model.backbone = toy_resnet()
    cfg.model.branches = dict(image=mlp_branch(queue_len=8))
    model = MODELS.build(cfg.model)
    model.init_weights()
    hook = HOOKS.build(cfg.custom_hooks[-2])
    hook.write(model)
    for name, value in weights.items():
        assert torch.equal(model.backbone.state_dict()[name], value), name
        assert torch.equal(model.target.backbone.state_dict()[name], value), name


def test_init_says_what_it_cannot_do(ckpt, tmp_path):
    with pytest.raises(ValueError, match=r"--init fills model.backbone, and this config has none \(model.type='GAN'\)"):
        start_from(Config(dict(model=dict(type='GAN'))), str(ckpt[0]))
    path = config(tmp_path)
    with pytest.raises(UserError, match='no checkpoint .*none.pth'):
        read_config(path, arguments(path, tmp_path, tmp_path / 'none.pth'))


def test_pretrained_fields_of_mmsegmentation_and_timm_are_taken_away_too(ckpt):
    model = ConfigDict(type='EncoderDecoder', pretrained='open-mmlab://resnet50_v1c', backbone=small_resnet())
    cfg = Config(dict(model=model))
    start_from(cfg, str(ckpt[0]))
    assert cfg.model.pretrained is None
    timms = ConfigDict(type='mmpretrain.TIMMBackbone', model_name='resnet18', features_only=True, pretrained=True)
    cfg = Config(dict(model=ConfigDict(type='RetinaNet', backbone=timms)))
    start_from(cfg, str(ckpt[0]))
    assert cfg.model.backbone.pretrained is False


def classifier(tmp_path, depth: int = 18) -> Path:
    """A config that trains a classifier on a handful of scenes."""
    scenes = dict(type='viewplug.ShapeScenes', image_size=32, num_images=8)
    cfg = Config(
        dict(
            default_scope='mmpretrain',
            model=dict(
                type='ImageClassifier',
                backbone=dict(toy_resnet(), depth=depth),
                neck=dict(type='GlobalAveragePooling'),
                head=dict(type='LinearClsHead', num_classes=12, in_channels=64),
            ),
            data_preprocessor=dict(type='ClsDataPreprocessor', **{**NORMALISATION, 'to_rgb': False}),
            train_dataloader=dict(
                batch_size=4,
                num_workers=0,
                sampler=dict(type='DefaultSampler', shuffle=False),
                collate_fn=dict(type='default_collate'),
                dataset=dict(scenes, pipeline=[dict(type='PackInputs')]),
            ),
            train_cfg=dict(by_epoch=True, max_epochs=1),
            optim_wrapper=dict(optimizer=dict(type='SGD', lr=0.0)),
            default_hooks=dict(checkpoint=dict(type='CheckpointHook', interval=1)),
        )
    )
    cfg.dump(tmp_path / f'cls{depth}.py')
    return tmp_path / f'cls{depth}.py'


def test_a_run_with_init_trains_from_the_file_and_one_that_cannot_does_not_begin(ckpt, tmp_path):
    path = classifier(tmp_path)
    train(arguments(path, tmp_path, ckpt[0]))
    state = torch.load(tmp_path / 'work/epoch_1.pth', weights_only=False)['state_dict']
    for key, value in ckpt[1].items():  # at learning rate 0 only the statistics have moved
        if key.startswith('backbone.') and 'running' not in key and 'tracked' not in key:
            assert torch.equal(state[key], value), key
    log = '\n'.join(file.read_text() for file in (tmp_path / 'work').rglob('*.log'))
    assert 'InitFromSSL: 120 tensors of backbone from' in log and 'backbone  backbone.    120' in log
    assert 'the data preprocessor leaves images as they are loaded' in log
    with pytest.raises(UserError, match='TransferCheckHook: backbone: 80 of 180 tensors'):
        train(arguments(classifier(tmp_path, 34), tmp_path / 'deep', ckpt[0]))
    assert not list((tmp_path / 'deep').rglob('*.pth'))


def test_dist_train_passes_init_on(ckpt, tmp_path):
    """Two processes on a CPU, through the shell script, with --cfg-options beside it."""
    command = [ROOT / 'tools/dist_train.sh', classifier(tmp_path), '2', '--init', ckpt[0], '--work-dir', tmp_path / 'w']
    command += ['--cfg-options', 'train_dataloader.batch_size=2']
    env = dict(os.environ, PYTHON=sys.executable, PORT='29613', OMP_NUM_THREADS='1', CUDA_VISIBLE_DEVICES='')
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, env=env, cwd=tmp_path)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    state = torch.load(tmp_path / 'w/epoch_1.pth', weights_only=False)['state_dict']
    assert torch.equal(state['backbone.layer4.1.conv2.weight'], ckpt[1]['backbone.layer4.1.conv2.weight'])
