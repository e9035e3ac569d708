"""tools/train.py as its users meet it: what works, and one sentence for what does not."""

import errno
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine import Config
from mmengine.hooks import Hook
from mmengine.registry import DefaultScope
from mmengine.runner import Runner
from train_runs import ROOT, TINY, arguments, demo, has_queue, small

from viewplug.run.launch import UserError, read_config, run, train

OTHERS = {'_base_', 'adclr', 'cpc', 'pretext', 'transfer'}  # tests/configs and tests/transfer have theirs
CONFIGS = sorted(str(path.relative_to(ROOT)) for path in ROOT.glob('configs/**/*.py') if not OTHERS & {*path.parts})
# As demos, ContrastiveCrop's tables differ by data set in nothing, SimCLR's study by batch and width in nothing.
ALIKE = ('contrastive_crop/', 'simclr/')
DEMOS = [path for path in CONFIGS if 'contrastive_crop/cifar10/' in path or not any(part in path for part in ALIKE)]
DEMOS += [f'configs/simclr/{name}.py' for name in ('r50_b4096', 'head_none', 'table3_noise', 'table3_rotation')]
VIT_DEMOS = [
    f'configs/adclr/{name}.py'
    for name in (
        'adclr_vit_small_in1k',
        'adclr_ibot_vit_small_in1k',
        'adclr_ccrop_vit_small_in1k',
        'adclr_moco_vit_small_in1k',
    )
]


@pytest.mark.parametrize('config', DEMOS)
def test_every_config_of_the_repository_runs_as_a_demo(config, tmp_path):
    train(demo(config, tmp_path))
    work = tmp_path / 'work'
    assert (work / 'epoch_1.pth').exists()
    assert list((work / 'vis_views').glob('*.png'))
    scalars = [json.loads(line) for line in next(work.glob('*/vis_data/scalars.json')).read_text().splitlines()]
    assert sum('knn/top1_k20' in line for line in scalars) == 2  # untrained and trained


@pytest.mark.parametrize('config', VIT_DEMOS)
def test_queries_masks_and_boxes_run_as_demos(config, tmp_path):
    options = {key: value for key, value in TINY.items() if not key.startswith('model.')}
    knn = {f'custom_hooks.0.{loader}.dataset.num_images': 24 for loader in ('train_dataloader', 'val_dataloader')}
    train(arguments(config, tmp_path, demo=True, epochs=1, options={**options, **knn}))
    lines = next((tmp_path / 'work').glob('*/vis_data/scalars.json')).read_text().splitlines()
    last = {key: value for line in lines for key, value in json.loads(line).items()}
    assert np.isfinite(last['query.loss']) and 'health/query/effective_rank' in last


@pytest.mark.parametrize('config', CONFIGS)
def test_every_config_builds_its_full_size_model_and_its_feat_dim_is_the_necks(config):
    from mmengine.registry import MODELS

    cfg = Config.fromfile(ROOT / config)
    head = cfg.model.branches.image.head
    if has_queue(config):
        head.queue_len = 8
    model = MODELS.build(cfg.model)
    length = model.branches.image.neck.out_channels
    assert getattr(model.branches.image.head, 'feat_dim', length) == length
    assert cfg.train_cfg.max_epochs == cfg.param_scheduler[-1].end


def test_two_stages_run_with_one_command_and_carry_the_weights_over(tmp_path, monkeypatch):
    args = demo(
        'configs/mocov2_hcl_r50.py',
        tmp_path,
        stages=True,
        epochs=None,
        options={'stage1_epochs': 1, 'stage2_epochs': 1},
    )
    train(args)
    work = tmp_path / 'work'
    assert (work / 'stage1/epoch_1.pth').exists() and (work / 'epoch_1.pth').exists()
    log = '\n'.join(path.read_text() for path in work.glob('2*/*.log'))
    assert 'carried over' in log and 'branches.image.neck.semantic (4)' in log and 'target.backbone' in log


@pytest.mark.parametrize(
    ('changes', 'name'),
    [(dict(filename_tmpl='before_{}.pth'), 'before_1.pth'), (dict(by_epoch=False), 'iter_3.pth')],
)
def test_a_first_stage_that_is_done_is_not_trained_again_whatever_its_checkpoint_is_called(
    changes, name, tmp_path, monkeypatch
):
    options = {f'stage1.default_hooks.checkpoint.{key}': value for key, value in changes.items()}
    options |= {'stage1_epochs': 1, 'stage2_epochs': 1}
    args = demo('configs/mocov2_hcl_r50.py', tmp_path, stages=True, epochs=None, options=options)
    for _ in range(2):
        train(args)
    work = tmp_path / 'work'
    assert (work / 'stage1' / name).exists() and (work / 'epoch_1.pth').exists()
    assert len(list(work.glob('stage1/*/*.log'))) == 1
    args.cfg_options['stage1_epochs'], said = 2, []
    monkeypatch.setattr('viewplug.run.launch.print_log', lambda text, *_, **__: said.append(text))
    train(args)
    assert f'stage1/{name} is not known to be its last checkpoint' in ' '.join(said)
    assert len(list(work.glob('stage1/*/*.log'))) == 2


def test_a_first_stage_without_a_checkpoint_is_nothing_to_go_on_from(tmp_path):
    options = {'stage1_epochs': 1, 'stage2_epochs': 1, 'stage1.default_hooks.checkpoint.save_last': False}
    options['stage1.default_hooks.checkpoint.interval'] = 2
    with pytest.raises(UserError, match='^stage 1 has left no checkpoint in .*stage1'):
        train(demo('configs/mocov2_hcl_r50.py', tmp_path, stages=True, epochs=None, options=options))


@pytest.mark.parametrize('config', CONFIGS)
def test_every_demo_is_of_a_cpus_size(config):
    cfg = read_config(str(ROOT / config), arguments(config, Path('x'), demo=True))
    crops = [views[0] for views in cfg.data_preprocessor.transforms]
    assert cfg.data_preprocessor.type == 'viewplug.BatchViews' and {crop.scale for crop in crops} == {32}


@pytest.mark.parametrize(('config', 'eman'), [('configs/mocov2_r50.py', True), ('configs/byol_r50.py', False)])
def test_only_a_queue_needs_a_target_that_does_not_know_its_batch(config, eman):
    target = read_config(str(ROOT / config), arguments(config, Path('x'), demo=True)).model.target
    assert target.get('eman', False) == eman and not target.get('shuffle_bn', False)


def test_a_demo_can_have_its_views_one_by_one(tmp_path):
    cfg = read_config(
        'configs/mocov2_r50.py', arguments('configs/mocov2_r50.py', tmp_path, demo=True, options=dict(views='sample'))
    )
    assert cfg.train_dataloader.dataset.type == 'viewplug.ShapeScenes'


def test_mmengines_flexible_runner_trains_too(tmp_path):
    options = {
        'runner_type': 'FlexibleRunner',
        'strategy.type': 'SingleDeviceStrategy',
        'optim_wrapper.paramwise_cfg.custom_keys.predictr.lr_mult': 2.0,
    }
    train(demo('configs/mocov2_r50.py', tmp_path, options))
    assert (tmp_path / 'work/epoch_1.pth').exists()
    (log,) = (tmp_path / 'work').glob('*/*.log')
    assert "custom_keys['predictr'] changes nothing" in log.read_text()


def test_stage_lengths_are_config_fields():
    args = arguments('configs/mocov2_hcl_r50.py', Path('x'), options=dict(stage1_epochs=800, stage2_epochs=400))
    cfg = read_config(args.config, args)
    assert (cfg.stage1_epochs, cfg.train_cfg.max_epochs, cfg.param_scheduler[0].T_max) == (800, 400, 400)


def test_a_folder_of_nested_images_trains_without_labels(folder, tmp_path):
    options = small(
        **{'train_dataloader.dataset.pipeline.1.transforms.0.0.scale': 32, 'env_cfg.cudnn_benchmark': False}
    )
    train(arguments('configs/mocov2_r50.py', tmp_path, data_root=str(folder), epochs=1, options=options))
    state = torch.load(tmp_path / 'work/epoch_1.pth', weights_only=False)
    assert state['meta']['iter'] == 3
    assert state['state_dict']['branches.image.head.pointer'] == 12


def test_corrupt_images_among_good_ones_are_skipped_counted_and_logged(folder, tmp_path):
    (folder / 'broken.jpg').write_bytes(b'no image')
    options = small(**{'train_dataloader.dataset.pipeline.1.transforms.0.0.scale': 32})
    train(arguments('configs/mocov2_r50.py', tmp_path, data_root=str(folder), epochs=1, options=options))
    log = next((tmp_path / 'work').glob('2*/*.log')).read_text()
    assert 'broken.jpg' in log and '1 of 13 images' in log


BAD = {
    'missing data': (dict(), {}, 'no training data at .*--data-root.*--demo'),
    'folder without images': (dict(data_root='EMPTY'), {}, 'no image to train on'),
    'no such folder': (dict(data_root='NOWHERE'), {}, 'no folder .*NOWHERE'),
    'batch larger than data': (
        dict(data_root='IMAGES'),
        {'train_dataloader.batch_size': 64},
        'batch_size=64.*12 images',
    ),
    'wrong feat_dim': (
        dict(data_root='IMAGES'),
        {'model.branches.image.head.feat_dim': 64},
        r'model\.branches\.image\.head\.feat_dim=64.*set feat_dim=128',
    ),
    'unknown branch key': (
        dict(data_root='IMAGES'),
        {'model.branches.image.hed': 1},
        'model.branches.image takes the keys',
    ),
    'misspelt type': (
        dict(data_root='IMAGES'),
        {'model.branches.image.neck.type': 'viewplug.MLPNek'},
        'viewplug.MLPNeck',
    ),
    'amp on a cpu': (dict(data_root='IMAGES', amp='fp16'), {}, '--amp fp16'),
    'no such checkpoint': (dict(data_root='IMAGES', resume='gone.pth'), {}, 'gone.pth: no such checkpoint'),
    'no stages': (dict(data_root='IMAGES', stages=True), {}, 'stage1_config'),
    'slurm on a cpu': (
        dict(data_root='IMAGES', launcher='slurm'),
        {},
        '--launcher slurm on a CPU.*dist_train.sh',
    ),
}


@pytest.mark.parametrize('case', BAD)
def test_a_mistake_is_answered_with_one_sentence_before_the_first_step(case, folder, tmp_path):
    if case.endswith('on a cpu') and torch.cuda.is_available():
        pytest.skip('there is a GPU')
    changes, options, sentence = BAD[case]
    (tmp_path / 'EMPTY').mkdir()
    roots = {'EMPTY': tmp_path / 'EMPTY', 'NOWHERE': tmp_path / 'NOWHERE', 'IMAGES': folder}
    changes = {key: str(roots.get(value, value)) if key == 'data_root' else value for key, value in changes.items()}
    options = {**small(), 'train_dataloader.dataset.pipeline.1.transforms.0.0.scale': 32, **options}
    with pytest.raises(UserError, match=f'(?s){sentence}'):
        train(arguments('configs/mocov2_r50.py', tmp_path, epochs=1, options=options, **changes))


@pytest.mark.parametrize('workers', [0, 1])
def test_images_that_vanish_while_training_are_one_sentence_too(workers, folder, tmp_path):
    class Vanish(Hook):
        def after_train_epoch(self, runner):
            for path in sorted(folder.rglob('*.png'))[:10]:
                path.unlink()

    options = small(
        **{'train_dataloader.dataset.pipeline.1.transforms.0.0.scale': 32, 'train_dataloader.num_workers': workers}
    )
    options |= {'train_dataloader.persistent_workers': False, 'custom_hooks': [dict(type=Vanish)]}
    args = arguments('configs/mocov2_r50.py', tmp_path, data_root=str(folder), epochs=2, options=options)
    sentence = (
        '^viewplug.ImageFolder: [0-9]+ of 12 images cannot be read, and max_corrupt.*--resume goes on from the last'
    )
    with pytest.raises(UserError, match=sentence):
        train(args)


def test_a_disk_that_is_full_while_training_is_one_sentence_too(folder, tmp_path):
    class Full(Hook):
        def after_train_epoch(self, runner):
            raise OSError(errno.ENOSPC, 'No space left on device')

    options = small(**{'train_dataloader.dataset.pipeline.1.transforms.0.0.scale': 32})
    options['custom_hooks'] = [dict(type=Full)]
    args = arguments('configs/mocov2_r50.py', tmp_path, data_root=str(folder), epochs=1, options=options)
    with pytest.raises(UserError, match=r'^No space left on device, for work_dir .*work or .*--resume goes on'):
        train(args)


def test_hcl_without_its_first_stage_says_how_to_get_it(folder, tmp_path):
    args = arguments('configs/mocov2_hcl_r50.py', tmp_path, data_root=str(folder))
    with pytest.raises(UserError, match='load_from=.*--stages'):
        run(read_config(args.config, args), args)


def test_missing_data_is_exit_code_2_and_no_traceback(tmp_path):
    command = [sys.executable, str(ROOT / 'tools/train.py'), str(ROOT / 'configs/mocov2_r50.py')]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert done.returncode == 2
    assert 'Traceback' not in done.stderr + done.stdout
    assert str(tmp_path / 'data/imagenet/train') in done.stderr
    assert all(way in done.stderr for way in ('ln -s', '--data-root', '--demo'))


def test_two_processes_on_a_cpu_train_through_dist_train(tmp_path):
    args = demo('configs/mocov2_r50.py', tmp_path)
    options = [f'{key}={value}' for key, value in args.cfg_options.items()]
    command = [str(ROOT / 'tools/dist_train.sh'), str(ROOT / 'configs/mocov2_r50.py'), '2', '--demo', '--epochs', '1']
    command += ['--work-dir', str(tmp_path / 'work'), '--cfg-options', *options]
    import os

    environment = {**os.environ, 'PYTHON': sys.executable, 'PORT': '29617', 'OMP_NUM_THREADS': '1'}
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300, env=environment)
    assert done.returncode == 0, done.stderr[-3000:]
    state = torch.load(tmp_path / 'work/epoch_1.pth', weights_only=False)['state_dict']
    assert state['branches.image.head.pointer'] == 16 % 20  # one step, 8 keys of each of two processes


def test_the_loader_of_a_config_that_inherits_from_mmpretrain_gives_batches(tmp_path):
    (tmp_path / 'own.py').write_text("""
_base_ = 'mmpretrain::mocov2/mocov2_resnet50_8xb32-coslr-200e_in1k.py'
pack = [dict(type='PackInputs')]
scenes = dict(_delete_=True, type='viewplug.ShapeScenes', num_images=4, image_size=24, pipeline=pack)
train_dataloader = dict(batch_size=4, num_workers=0, persistent_workers=False, dataset=scenes)
""")
    cfg = read_config(tmp_path / 'own.py', arguments(tmp_path / 'own.py', tmp_path))
    with DefaultScope.overwrite_default_scope(cfg.default_scope):
        batch = next(iter(Runner.build_dataloader(cfg.train_dataloader)))
    assert batch['inputs'].shape == (4, 3, 24, 24)


def test_stock_mmpretrain_and_mmdet_configs_are_read_and_their_data_looked_for(tmp_path):
    import mmdet
    import mmpretrain

    for package, name in (
        (mmpretrain, 'mocov2/mocov2_resnet50_8xb32-coslr-200e_in1k.py'),
        (mmdet, 'faster_rcnn/faster-rcnn_r50_fpn_1x_coco.py'),
    ):
        config = Path(package.__file__).parent / '.mim/configs' / name
        args = arguments(config, tmp_path)
        cfg = read_config(str(config), args)
        with pytest.raises(UserError, match='no training data at'):
            run(cfg, args)
