"""Mistakes on tools/train.py's command line: one sentence that names the key, and the nearest right one."""

import runpy
import signal
import subprocess
import sys
import time

import pytest
import torch
from mmengine import Config
from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from train_runs import ROOT, arguments, demo, small

from viewplug.config import options as option_file
from viewplug.config.fixed_keys import OF_OURS
from viewplug.config.options import merge_options, of_stage
from viewplug.run.launch import UserError, read_config, train

CONFIG = 'configs/mocov2_r50.py'
CROP = 'train_dataloader.dataset.pipeline.1.transforms.0.0'
SENTENCES = {
    'model.branches.image.neck.hiden_channels=64': r'^model\.branches\.image\.neck\.hiden_channels: MLPNeck has no '
    'argument hiden_channels, did you mean hidden_channels',
    'model.branches.image.head.loss.temprature=1': 'InfoNCELoss has no argument temprature, did you mean temperature',
    'model.target.momntum=1': r'^model\.target\.momntum: .* did you mean momentum',
    'model.backbone.dept=18': 'ResNet has no argument dept, did you mean depth',
    'train_dataloader.bach_size=4': r'^train_dataloader\.bach_size: DataLoader .* did you mean batch_size',
    'train_cfg.max_epoch=1': r'^train_cfg\.max_epoch: EpochBasedTrainLoop .* did you mean max_epochs',
    f'{CROP}.crop_ratio_rnge=1': 'RandomResizedCrop has no argument crop_ratio_rnge, did you mean crop_ratio_range',
    f'{CROP}.scale=abc': r'^train_dataloader\.dataset\.pipeline\.1\.transforms\.0\.0: AssertionError',
    'model.branches.image.neck.in_channels=2048': r'^viewplug\.MLPNeck: RuntimeError: mat1 and mat2 .*--traceback',
    'optim_wrapper.optimizer.type=SDG': r'^optim_wrapper\.optimizer\.type: SDG is the name of no optimiser',
    'optim_wrapper.optimizer.type=AdmW': r'^optim_wrapper\.optimizer\.type: .*optimizer registry, did you mean AdamW',
    'model.backbone.type=ResNot': r'^model\.backbone\.type: ResNot is not in the model registry, .* ResNet',
    'model.branches.image.head.loss.type=InfoNCELos': r'^model\.branches\.image\.head\.loss\.type: .* viewplug\.Info',
    'default_hooks.logger.type=LogerHook': r'^default_hooks\.logger\.type: LogerHook .* did you mean LoggerHook',
    'param_scheduler.0.type=CosineAnealingLR': r'^param_scheduler\.0\.type: .* did you mean CosineAnnealingLR',
    'train_dataloader.sampler.type=DefaultSampl': r'^train_dataloader\.sampler\.type: .* did you mean DefaultSampler',
    f'{CROP}.type=viewplug.RandmResizedCrop': rf'^{CROP}\.type: .* did you mean viewplug\.RandomResizedCrop',
    'optim_wrapper.optimizer.lr=abc': r'^optim_wrapper\.optimizer: TypeError',
    'train_dataloader.batch_size=1': 'batch norm needs two images or more in a batch, .*batch_size is 1',
    'train_dataloder.batch_size=4': r'--cfg-options train_dataloder\.batch_size: .* did you mean train_dataloader',
    'auto_scale_lr.enabled=1': '^auto_scale_lr: nothing reads enabled, did you mean enable',
    'default_hooks.checkpoint.inteval=1': r'^default_hooks\.checkpoint: nothing reads inteval, did you mean interval',
    'default_hooks.checkpont.interval=1': 'default_hooks has no checkpont, did you mean checkpoint',
    'model.branches.imag.head.queue_len=64': r'model\.branches has no imag, did you mean image',
    'train_dataloader.collate_fn.type=default_colate': r'^train_dataloader\.collate_fn\.type: .* did you mean default',
    'model.backbone.init_cfg.typ=Pretrained': r'^model\.backbone\.init_cfg has no type, .*; write type in place of typ',
    'default_hooks.logger.typ=LoggerHook': r'^default_hooks\.logger\.typ: .* did you mean type',
    'default_hooks.timer.priorty=LOW': r'^default_hooks\.timer\.priorty: .* did you mean priority',
    'default_hooks.timer.priority=LOWW': r"^default_hooks\.timer\.priority='LOWW': give a number .*, did you mean LOW",
    'train_dataloader.dataset.dataset.num_images=64': r"a data set without a type, {'num_images': 64}",
    'log_level=INFOO': "^log_level='INFOO': give a number, or one of .*, did you mean INFO",
    'default_scope=mmpretrian': "^default_scope='mmpretrian': no registry has this scope, did you mean mmpretrain",
    'log_processor.custom_cfg=loss': "^log_processor.custom_cfg is a list of dicts, got 'loss'",
    'train_dataloader.dataset.pipeline.7.num_views=1': 'pipeline has the entries 0 to 2, got 7',
}


def value(text: str):
    return int(text) if text.isdigit() else text


@pytest.mark.parametrize('option', SENTENCES)
def test_a_misspelt_option_is_named_with_its_place(option, folder, tmp_path):
    key, given = option.split('=')
    options = {**small(), f'{CROP}.scale': 32, key: value(given)}
    with pytest.raises(UserError, match=SENTENCES[option]):
        train(arguments(CONFIG, tmp_path, epochs=1, data_root=str(folder), options=options))


@pytest.mark.parametrize(
    ('changes', 'options', 'said'),
    [
        (dict(epochs=0), {}, '^epochs must be at least 1, got 0'),
        (dict(work_dir='/dev/null/work'), {}, r'^Not a directory: /dev/null/work'),
        (dict(resume='FILE'), {}, r'^--resume .*notes\.txt: no checkpoint, or one that was cut short'),
        (dict(resume='EMPTY'), {}, r'^--resume .*EMPTY: the folder has no checkpoint'),
        (dict(), {'load_from': 'FILE'}, r'^load_from=.*notes\.txt: no checkpoint'),
        (dict(), {'custom_imports.imports': ['no_such_module']}, '^custom_imports=.*no_such_module'),
        (dict(), {'stage1.train_dataloader.batch_size': 4}, r'stage1\.train_dataloader\.batch_size .*--stages'),
    ],
    ids=str,
)
def test_so_are_paths_lengths_and_imports(changes, options, said, folder, tmp_path):
    (tmp_path / 'notes.txt').write_text('no checkpoint')
    (tmp_path / 'EMPTY').mkdir()
    there = dict(FILE=str(tmp_path / 'notes.txt'), EMPTY=str(tmp_path / 'EMPTY'))
    options = {key: there.get(one, one) if isinstance(one, str) else one for key, one in options.items()}
    changes = {'epochs': 1, **{key: there.get(one, one) for key, one in changes.items()}}
    with pytest.raises(UserError, match=said):
        train(arguments(CONFIG, tmp_path, data_root=str(folder), options={**small(), **options}, **changes))


def test_a_work_dir_is_something_to_resume_from(tmp_path):
    train(demo(CONFIG, tmp_path / 'first'))
    train(demo(CONFIG, tmp_path / 'second', epochs=2, resume=str(tmp_path / 'first/work')))
    assert torch.load(tmp_path / 'second/work/epoch_2.pth', weights_only=False)['meta']['epoch'] == 2
    whole, cut = (tmp_path / f'second/work/epoch_{epoch}.pth' for epoch in (1, 2))
    whole.write_bytes((tmp_path / 'first/work/epoch_1.pth').read_bytes())
    cut.write_bytes(cut.read_bytes()[:5000])
    with pytest.raises(UserError, match=r'(?s)epoch_2\.pth: .*cut short.*epoch_1\.pth is whole'):
        train(demo(CONFIG, tmp_path / 'second', epochs=3, resume='auto'))


def test_a_variable_of_the_file_is_told_from_what_the_run_reads(monkeypatch):
    said = []
    monkeypatch.setattr(option_file, 'print_log', lambda text, *args: said.append(text))
    cfg = Config.fromfile(ROOT / CONFIG)
    merge_options(cfg, {'view_pipeline.0.scale': 64})
    [text] = said
    assert 'view_pipeline is a variable of the config file' in text
    assert text.endswith(f'Set the part itself, e.g. {CROP}.scale.')


@pytest.mark.parametrize('key', ['custom_hooks', 'train_dataloader.dataset.pipeline'])
def test_a_dict_in_place_of_a_list_is_named(key):
    cfg = Config.fromfile(ROOT / CONFIG)
    with pytest.raises(ValueError, match=rf'^--cfg-options {key}=.*: the config has a list there; .*{key}\.0='):
        merge_options(cfg, {'work_dir': 'x', key: dict(type='PackInputs')})
    place = {'0': dict(type='viewplug.ViewGalleryHook', num_images=2)}
    merge_options(cfg, {'custom_hooks': place})
    assert cfg.custom_hooks[0].num_images == 2


def test_a_length_without_its_schedules_is_said(monkeypatch):
    said = []
    monkeypatch.setattr(option_file, 'print_log', lambda text, *args: said.append(text))
    merge_options(Config.fromfile(ROOT / CONFIG), {'train_cfg.max_epochs': 2, 'param_scheduler.0.T_max': 2})
    assert not said
    merge_options(Config.fromfile(ROOT / CONFIG), {'train_cfg.max_epochs': 2})
    assert len(said) == 1 and '--epochs scales them too' in said[0]


@pytest.mark.parametrize(
    'keys',
    [
        ['find_unused_parameters'],
        ['default_hooks.runtime_info.type'],
        ['model.grad_cache'],
        ['auto_scale_lr.enable'],
        ['train_dataloader.batch_sampler.type'],
        ['val_dataloader.batch_size', 'val_cfg.type', 'test_evaluator.type'],
        ['model.branches.image2.head.type', 'model.branches.image2.neck.type'],
        ['runner_type', 'strategy.type', 'something.else'],
        ['optim_wrapper.clip_grad.max_norm', 'env_cfg.mp_cfg.opencv_num_threads'],
    ],
    ids=str,
)
def test_new_keys_that_a_run_reads_are_taken(keys):
    whole = Config.fromfile(ROOT / CONFIG)
    merge_options(whole, dict.fromkeys(keys, True))
    for key in keys:
        cfg = whole
        for part in key.split('.'):
            cfg = cfg[part]
        assert cfg is True


def test_a_stage_has_options_of_its_own():
    options = {'a.b': 1, 'stage1.a.b': 2, 'stage2.c': 3, 'stage1_epochs': 4}
    assert of_stage(options, 1) == {'a.b': 2, 'stage1_epochs': 4}
    assert of_stage(options, 2) == {'a.b': 1, 'c': 3, 'stage1_epochs': 4}
    assert of_stage({'a.b': 1}, None) == {'a.b': 1}


def test_what_would_stop_stage_2_stops_before_stage_1(folder, tmp_path):
    lengths = {'stage1_epochs': 1, 'stage2_epochs': 1}
    options = {**small(), **lengths, f'{CROP}.scale': 64}
    given = dict(data_root=str(folder), stages=True)
    with pytest.raises(UserError, match='stage 2 would stop at its first step: HCLNeck: input_size=224'):
        train(arguments('configs/mocov2_hcl_r50.py', tmp_path, options=options, **given))
    assert not list(tmp_path.glob('work/stage1/*.pth'))
    options |= {'stage2.model.branches.image.neck.input_size': 64, 'stage2.model.branches.image.head.feat_dim': 144}
    train(arguments('configs/mocov2_hcl_r50.py', tmp_path, options=options, **given))
    assert (tmp_path / 'work/stage1/epoch_1.pth').exists() and (tmp_path / 'work/epoch_1.pth').exists()


def test_a_hook_of_stage_2_that_is_hidden_stops_before_stage_1_too(tmp_path, monkeypatch):
    monkeypatch.setitem(HOOKS.module_dict, 'SimSiamHook', type('SimSiamHook', (Hook,), {}))
    args = demo('configs/mocov2_hcl_r50.py', tmp_path, stages=True, epochs=None)
    hooks = {'stage1.custom_hooks': [], 'stage2.custom_hooks': [dict(type='SimSiamHook')]}
    args.cfg_options = {key: one for key, one in args.cfg_options.items() if not key.startswith('custom_hooks')} | hooks
    with pytest.raises(UserError, match=r'^stage 2 would stop at its first step: custom_hooks\.0: .*would be built'):
        train(args)
    assert not list(tmp_path.glob('work/stage1/*'))


def test_a_list_of_validations_loaders_is_read(tmp_path):
    collate = dict(type='default_collate', _scope_='mmpretrain')
    loaders = [dict(dataset=dict(type='viewplug.ImageFolder', pipeline=[]), collate_fn=collate)]
    loop = "val_cfg = dict(type='MultiValLoop')\nval_evaluator = []"
    (tmp_path / 'config.py').write_text(f"_base_ = '{ROOT / CONFIG}'\nval_dataloader = {loaders}\n{loop}\n")
    cfg = read_config(str(tmp_path / 'config.py'), arguments(CONFIG, tmp_path))
    assert cfg.val_dataloader[0].collate_fn == dict(type='default_collate')


@pytest.mark.parametrize(
    ('text', 'said'),
    [
        ('model = dict(', 'cannot be read: SyntaxError'),
        ("_base_ = ['none.py']", 'cannot be read: FileNotFoundError'),
        (
            f"_base_ = '{ROOT / CONFIG}'\nparam_schedulers = []",
            'nothing reads param_schedulers, did you mean param_sched',
        ),
    ],
)
def test_a_config_that_cannot_be_read_is_a_sentence(text, said, tmp_path):
    (tmp_path / 'config.py').write_text(text)
    with pytest.raises(UserError, match=rf'config\.py:? {said}'):
        read_config(str(tmp_path / 'config.py'), arguments(CONFIG, tmp_path))


def test_a_pure_python_config_can_have_its_views_on_the_device(tmp_path):
    (tmp_path / 'config.py').write_text(
        'from mmpretrain.datasets import PackInputs\n'
        'from viewplug.datasets import ShapeScenes\n'
        'from viewplug.frameworks import Siamese\n'
        'from viewplug.transforms import MultiView, RandomResizedCrop\n'
        'crop = dict(type=RandomResizedCrop, scale=32)\n'
        'pipeline = [dict(type=MultiView, num_views=2, transforms=[[crop]]), dict(type=PackInputs)]\n'
        'model = dict(type=Siamese)\n'
        'train_dataloader = dict(dataset=dict(type=ShapeScenes, pipeline=pipeline))\n'
    )
    cfg = read_config(str(tmp_path / 'config.py'), arguments(CONFIG, tmp_path, options=dict(views='device')))
    assert cfg.data_preprocessor.type == 'viewplug.BatchViews' and cfg.model.type == 'viewplug.Siamese'
    assert cfg.data_preprocessor.transforms[0][0].type == 'viewplug.RandomResizedCrop'


def test_a_mistake_shows_its_traceback_when_asked(folder, tmp_path):
    command = [sys.executable, str(ROOT / 'tools/train.py'), str(ROOT / CONFIG), '--data-root', str(folder)]
    command += ['--work-dir', str(tmp_path / 'w'), '--cfg-options', 'model.backbone.dept=18']
    short, long = (
        subprocess.run([*command[:3], *extra, *command[3:]], capture_output=True, text=True, timeout=120)
        for extra in ([], ['--traceback'])
    )
    assert short.returncode == 2 and 'Traceback' not in short.stderr and 'did you mean depth' in short.stderr
    assert 'Traceback' in long.stderr and 'TypeError' in long.stderr


def heed_interrupts() -> None:
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def test_an_interrupted_run_says_how_to_go_on(tmp_path):
    args = demo(CONFIG, tmp_path)
    options = [f'{key}={value}' for key, value in args.cfg_options.items()]
    command = [sys.executable, str(ROOT / 'tools/train.py'), str(ROOT / CONFIG), '--demo', '--epochs', '1000']
    command += ['--work-dir', str(tmp_path / 'w'), '--cfg-options', *options]
    with (tmp_path / 'out').open('w') as out:
        # A shell's background job, as this test may be, ignores SIGINT, and so would its children.
        run = subprocess.Popen(command, stdout=out, stderr=subprocess.STDOUT, preexec_fn=heed_interrupts)
        try:
            while not (tmp_path / 'w/epoch_1.pth').exists():
                assert run.poll() is None
                time.sleep(0.2)
            run.send_signal(signal.SIGINT)
            assert run.wait(60) == 130
        finally:
            run.kill()
    last = (tmp_path / 'out').read_text()
    assert 'Traceback' not in last and last.strip().endswith('with --resume goes on from the last checkpoint')


def test_so_does_one_interrupted_where_a_library_catches_everything(monkeypatch, capsys):
    # mmengine formats the config at each checkpoint, and calls whatever happens meanwhile a SyntaxError.
    def interrupted(args):
        try:
            raise KeyboardInterrupt
        finally:
            raise SyntaxError('Failed to format the config file')

    monkeypatch.setattr('viewplug.run.launch.train', interrupted)
    monkeypatch.setattr(sys, 'argv', ['train.py', str(ROOT / CONFIG)])
    assert runpy.run_path(str(ROOT / 'tools/train.py'))['main']() == 130
    assert capsys.readouterr().err.endswith('with --resume goes on from the last checkpoint\n')


def test_errors_behind_the_first_step_surface_as_they_are(monkeypatch):
    def wrong(args):
        raise SyntaxError('of the user')

    monkeypatch.setattr('viewplug.run.launch.train', wrong)
    monkeypatch.setattr(sys, 'argv', ['train.py', str(ROOT / CONFIG)])
    with pytest.raises(SyntaxError, match='of the user'):
        runpy.run_path(str(ROOT / 'tools/train.py'))['main']()


def test_a_run_that_diverges_is_one_sentence_and_writes_no_checkpoint(tmp_path):
    with pytest.raises(UserError, match=r'^training diverged: .*lower learning rate'):
        train(demo(CONFIG, tmp_path, {'optim_wrapper.optimizer.lr': 1e30}))
    assert not list(tmp_path.glob('work/*.pth'))


def test_default_hooks_of_ours_are_left_out_by_none_as_mmengines_are(tmp_path):
    options = {f'default_hooks.{name}': None for name in (*OF_OURS, 'timer')}
    train(demo(CONFIG, tmp_path, options))
    hooks = Config.fromfile(next(tmp_path.glob('work/*.py'))).default_hooks
    assert hooks.keys() == {'logger', 'param_scheduler', 'checkpoint', 'sampler_seed', 'timer'} and hooks.timer is None


def test_a_config_without_our_hooks_does_not_go_on_from_a_file_of_which_nothing_is_loaded(tmp_path):
    torch.save({'conv1.weight': torch.zeros(64, 3, 7, 7)}, tmp_path / 'exported.pth')
    options = {'load_from': str(tmp_path / 'exported.pth'), 'default_hooks.resume_check': None}
    with pytest.raises(UserError, match=r'^load_from=.*exported\.pth: nothing was loaded.*conv1\.weight there'):
        train(demo(CONFIG, tmp_path, options))
