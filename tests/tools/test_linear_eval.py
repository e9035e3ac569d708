"""From a pre-training work dir to a linear accuracy with one command."""

import importlib.util
import json
import os
import re
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from labelled_folders import folder_loader, make_folder
from mmengine import Config
from mmengine.registry import MODELS, DefaultScope
from processes import in_processes
from toys import toy_resnet

from viewplug.datasets import STL10, ShapeScenes
from viewplug.evaluation.linear import linear_config, run_linear
from viewplug.evaluation.linear_data import labelled_datasets
from viewplug.frameworks import Siamese
from viewplug.run.launch import read_config, run

ROOT = Path(__file__).resolve().parents[2]
MEAN, STD = [120.0, 110.0, 100.0], [60.0, 50.0, 40.0]
TRUTH = dict(linear_small=(10.0, 512), linear_imagenet=(30.0, 256))


@pytest.fixture(scope='module')
def tool():
    spec = importlib.util.spec_from_file_location('linear_eval', ROOT / 'tools/linear_eval.py')
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def call(tool, monkeypatch, *args):
    monkeypatch.setattr(sys, 'argv', ['linear_eval.py', *map(str, args)])
    return tool.main()


def scenes(split, number, steps=()):
    pipeline = [*steps, dict(type='mmpretrain.Resize', scale=(32, 32)), dict(type='mmpretrain.PackInputs')]
    return dict(
        type='viewplug.ShapeScenes', image_size=40, num_classes=3, split=split, num_images=number, pipeline=pipeline
    )


def pretraining_config():
    crop = [dict(type='viewplug.RandomResizedCrop', scale=32)]
    pipeline = [dict(type='viewplug.MultiView', num_views=2, transforms=[crop]), dict(type='PackInputs')]
    return Config(
        dict(
            model=dict(type='viewplug.Siamese', backbone=toy_resnet()),
            data_preprocessor=dict(type='mmpretrain.SelfSupDataPreprocessor', mean=MEAN, std=STD, to_rgb=True),
            train_dataloader=dict(dataset=dict(scenes('train', 40), pipeline=pipeline)),
            custom_hooks=[
                dict(
                    type='viewplug.KNNHook',
                    train_dataloader=dict(dataset=scenes('train', 20)),
                    val_dataloader=dict(dataset=scenes('val', 12)),
                )
            ],
        )
    )


@pytest.fixture
def work_dir(tmp_path):
    """What a run of mmengine leaves: its config, a checkpoint, last_checkpoint."""
    folder = tmp_path / 'run'
    folder.mkdir()
    pretraining_config().dump(folder / 'moco.py')
    branch = dict(
        neck=dict(type='MLPNeck', out_channels=4),
        head=dict(type='QueueHead', queue_len=4, loss=dict(type='InfoNCELoss')),
    )
    model = Siamese(backbone=toy_resnet(), branches=dict(image=branch), target=dict(type='MomentumTarget'))
    model.init_weights()
    images = torch.randn(8, 3, 32, 32)
    for backbone in (model.backbone, model.target.backbone):
        backbone.train()
        for _ in range(20):  # statistics that are not those of the start
            backbone(images + 0.1 * torch.randn_like(images))
    with torch.no_grad():
        model.target.backbone.conv1.weight.mul_(0.5)
    torch.save(dict(state_dict=model.state_dict()), folder / 'epoch_3.pth')
    (folder / 'last_checkpoint').write_text('/moved/since/epoch_3.pth')
    return folder


SHORT = [
    '--cfg-options',
    'train_dataloader.num_workers=0',
    'val_dataloader.num_workers=0',
    'train_dataloader.persistent_workers=False',
    'val_dataloader.persistent_workers=False',
    'train_dataloader.batch_size=16',
    'default_hooks.checkpoint.interval=1',
    'optim_wrapper.optimizer.lr=0.1',
]


@pytest.mark.parametrize('prefix', ['backbone.', 'target.backbone.'])
def test_the_accuracy_is_that_of_the_saved_classifier_on_the_frozen_weights_by_hand(
    tool, work_dir, monkeypatch, prefix
):
    assert call(tool, monkeypatch, work_dir, '--epochs', '2', '--prefix', prefix, '--resume', *SHORT) == 0
    result = json.loads((work_dir / 'linear_eval.json').read_text())
    assert (result['train_images'], result['val_images'], result['num_classes'], result['epochs']) == (40, 12, 3, 2)
    assert result['checkpoint'] == str(work_dir / 'epoch_3.pth') and result['protocol'] == 'small'
    assert 'top5' not in result  # of three classes

    before = torch.load(work_dir / 'epoch_3.pth', weights_only=False)['state_dict']
    after = torch.load(work_dir / 'linear/epoch_2.pth', weights_only=False)['state_dict']
    backbone = MODELS.build(toy_resnet())
    backbone.eval()
    backbone.load_state_dict({key.removeprefix(prefix): v for key, v in before.items() if key.startswith(prefix)})
    assert all(torch.equal(value, after[f'backbone.{key}']) for key, value in backbone.state_dict().items())
    dataset = ShapeScenes(**{key: value for key, value in scenes('val', 12).items() if key != 'type'})
    right = 0
    for index in range(12):
        sample = dataset[index]
        rgb = sample['inputs'].flip(0).float()
        image = (rgb - torch.tensor(MEAN)[:, None, None]) / torch.tensor(STD)[:, None, None]
        feature = backbone(image[None])[-1].mean(dim=(2, 3))
        scores = feature @ after['head.fc.weight'].T + after['head.fc.bias']
        right += int(scores.argmax() == sample['data_samples'].gt_label.item())
    assert result['top1'] == pytest.approx(100 * right / 12, abs=1e-3)

    (work_dir / 'linear_eval.json').unlink()  # as if it had been killed after its last epoch
    call(tool, monkeypatch, work_dir, '--epochs', '2', '--prefix', prefix, '--resume', *SHORT)
    assert json.loads((work_dir / 'linear_eval.json').read_text()) == result


def test_an_evaluation_is_not_resumed_with_other_options_which_its_result_would_name(
    tool, work_dir, monkeypatch, capsys
):
    assert call(tool, monkeypatch, work_dir, '--epochs', '1', *SHORT) == 0
    before = (work_dir / 'linear_eval.json').read_text()
    for change, said in (
        (['--seed', '7'], r'randomness\.seed=0, now 7'),
        (['--no-augment'], r'train_dataloader\.dataset\.pipeline'),
        (['--epochs', '2'], r'train_cfg\.max_epochs=1, now 2'),
    ):
        assert call(tool, monkeypatch, work_dir, '--epochs', '1', '--resume', *change, *SHORT) == 2
        assert re.search(f'^error: --resume: .*linear was begun with .*{said}', capsys.readouterr().err, re.MULTILINE)
    assert (work_dir / 'linear_eval.json').read_text() == before


def test_pre_training_with_contrastive_crop_on_stl10_ends_in_a_linear_accuracy(tool, tmp_path, monkeypatch):
    rng = np.random.default_rng(0)
    (tmp_path / 'stl10_binary').mkdir()
    for part, number in dict(train=6, test=4, unlabeled=6).items():
        rng.integers(0, 256, (number, 3, 96, 96), dtype=np.uint8).tofile(tmp_path / f'stl10_binary/{part}_X.bin')
        (np.arange(number, dtype=np.uint8) + 1).tofile(tmp_path / f'stl10_binary/{part}_y.bin')
    monkeypatch.setattr(STL10, 'md5', 'none is asked for')
    root = str(tmp_path)
    options = {
        'train_dataloader.batch_size': 6,
        'train_dataloader.num_workers': 0,
        'train_dataloader.dataset.data_root': root,
        'custom_hooks.6.train_dataloader.dataset.data_root': root,
        'custom_hooks.6.val_dataloader.dataset.data_root': root,
        'custom_hooks.6.train_dataloader.num_workers': 0,
        'custom_hooks.6.val_dataloader.num_workers': 0,
        'custom_hooks.7.start': 1,
        'custom_hooks.7.interval': 1,
        'model.backbone.base_channels': 4,
        'model.backbone.stem_channels': 4,
        'model.branches.image.head.queue_len': 8,
    }
    args = SimpleNamespace(config=str(ROOT / 'configs/contrastive_crop/stl10/moco_ccrop.py'), work_dir=f'{root}/work')
    vars(args).update(demo=False, epochs=2, data_root=None, amp=None, launcher='none', cfg_options=options)
    run(read_config(args.config, args), args)
    assert 'localization' in torch.load(Path(args.work_dir, 'epoch_2.pth'), weights_only=False)
    assert call(tool, monkeypatch, args.work_dir, '--epochs', '1', *SHORT) == 0
    result = json.loads(Path(args.work_dir, 'linear_eval.json').read_text())
    assert (result['train_images'], result['val_images'], result['num_classes']) == (6, 4, 10)
    assert 0 <= result['top1'] <= result['top5'] <= 100
    assert result['checkpoint'].endswith('epoch_2.pth')


@pytest.mark.parametrize('name', TRUTH)
def test_the_protocols_are_the_papers_and_shorter_runs_scale_their_steps(name, work_dir):
    protocol = Config.fromfile(ROOT / f'configs/_base_/{name}.py')
    cfg = linear_config(pretraining_config(), str(work_dir / 'epoch_3.pth'), protocol)
    optimizer = cfg.optim_wrapper.optimizer
    assert (optimizer.lr, cfg.train_dataloader.batch_size) == TRUTH[name]
    assert (optimizer.type, optimizer.momentum, optimizer.weight_decay) == ('SGD', 0.9, 0)
    (steps,) = cfg.param_scheduler
    assert (cfg.train_cfg.max_epochs, steps.milestones, steps.gamma) == (100, [60, 80], 0.1)
    short = linear_config(pretraining_config(), str(work_dir / 'epoch_3.pth'), protocol, epochs=10, world_size=8)
    assert short.param_scheduler[0].milestones == [6, 8]
    assert 8 * short.train_dataloader.batch_size == TRUTH[name][1]


@pytest.mark.parametrize(('name', 'rate', 'batch', 'epochs'), [('simclr', 0.1, 4096, 90), ('byol', 0.2, 1024, 80)])
def test_simclr_and_byol_have_protocols_of_their_own(name, rate, batch, epochs, work_dir):
    protocol = Config.fromfile(ROOT / f'configs/_base_/linear_{name}.py')
    cfg = linear_config(pretraining_config(), str(work_dir / 'epoch_3.pth'), protocol)
    optimizer = cfg.optim_wrapper.optimizer
    assert (optimizer.type, optimizer.lr, optimizer.momentum) == ('SGD', pytest.approx(rate * batch / 256), 0.9)
    assert (optimizer.nesterov, optimizer.weight_decay, cfg.train_dataloader.batch_size) == (True, 0, batch)
    (cosine,) = cfg.param_scheduler
    assert (cosine.type, cosine.T_max, cosine.end, cfg.train_cfg.max_epochs) == ('CosineAnnealingLR', *[epochs] * 3)
    assert cosine.convert_to_iter_based and not cosine.get('eta_min')


@pytest.mark.parametrize(
    'name',
    ['mocov1_r50', 'mocov2_r50', 'mocov2_hcl_r50', 'simclr_r50', 'byol_r50', 'simsiam_r50', 'simclr/r50x2_b4096'],
)
def test_imagenet_configs_know_its_labels_and_look_at_none_while_training(name):
    cfg = Config.fromfile(ROOT / f'configs/{name}.py')
    train_set, val_set = labelled_datasets(cfg)
    assert (train_set.data_root, val_set.data_root) == ('data/imagenet/train', 'data/imagenet/val')
    assert train_set.with_label and not any(hook.type.endswith('KNNHook') for hook in cfg.custom_hooks)


def test_the_protocol_follows_the_size_of_the_views(tool, work_dir, monkeypatch):
    seen = []
    monkeypatch.setattr(
        'viewplug.evaluation.linear.run_linear', lambda cfg, out, **notes: seen.append(notes) or dict(top1=0.0)
    )
    call(tool, monkeypatch, work_dir)
    cfg = pretraining_config()
    cfg.train_dataloader.dataset.pipeline[0].transforms[0][0].scale = 224
    cfg.dump(work_dir / 'moco.py')
    call(tool, monkeypatch, work_dir)
    call(tool, monkeypatch, work_dir, '--protocol', 'small', '--no-augment')
    assert [(notes['protocol'], notes['augment']) for notes in seen] == [
        ('small', True),
        ('imagenet', True),
        ('small', False),
    ]


def test_mistakes_are_one_sentence_and_exit_code_2(tool, work_dir, tmp_path, monkeypatch, capsys):
    empty = tmp_path / 'empty'
    empty.mkdir()
    started = tmp_path / 'started'
    started.mkdir()
    pretraining_config().dump(started / 'a.py')
    for arguments, sentence in (
        ([tmp_path / 'nowhere'], 'no work dir'),
        ([empty], 'holds no config'),
        ([started], 'has no checkpoint yet'),
        ([work_dir, '--prefix', 'encoder.'], "nothing under prefix='encoder.'; it has backbone., branches., target."),
        ([work_dir, '--protocol', 'tiny'], '--protocol tiny: no such file'),
        ([work_dir, '--epochs', '-1'], 'epochs must be at least 1, got -1'),
        ([work_dir, '--epochs', '0'], 'epochs must be at least 1, got 0'),
    ):
        assert call(tool, monkeypatch, *arguments) == 2
        error = capsys.readouterr().err
        assert sentence in error and error.count('\n') == 1


def test_labels_of_other_class_folders_are_refused(tool, work_dir, tmp_path, monkeypatch, capsys):
    cfg = pretraining_config()
    cfg.custom_hooks[0].train_dataloader = folder_loader(make_folder(tmp_path / 'train'))
    cfg.custom_hooks[0].val_dataloader = folder_loader(make_folder(tmp_path / 'val', ('dog', 'fox', 'owl')))
    cfg.dump(work_dir / 'moco.py')
    assert call(tool, monkeypatch, work_dir, '--epochs', '1', *SHORT) == 2
    assert re.search('error: the validation data .* missing cat', capsys.readouterr().err)


def test_the_labelled_folders_may_have_been_moved_and_options_say_where(tool, work_dir, tmp_path, monkeypatch, capsys):
    cfg = pretraining_config()
    for split in ('train', 'val'):
        cfg.custom_hooks[0][f'{split}_dataloader'] = folder_loader(tmp_path / f'gone/{split}')
        make_folder(tmp_path / split)
    cfg.dump(work_dir / 'moco.py')
    moved = [f'{split}_dataloader.dataset.data_root={tmp_path / split}' for split in ('train', 'val')]
    options = [*SHORT, *moved, 'train_dataloader.dataset.pipeline.1.crop_ratio_range=0.5,1']
    assert call(tool, monkeypatch, work_dir, '--epochs', '1', *options) == 0
    result = json.loads((work_dir / 'linear_eval.json').read_text())
    assert (result['train_images'], result['val_images'], result['num_classes']) == (12, 12, 4)
    (used,) = (work_dir / 'linear').glob('*.py')
    assert Config.fromfile(used).train_dataloader.dataset.pipeline[1].crop_ratio_range == [0.5, 1]
    assert call(tool, monkeypatch, work_dir, '--epochs', '1', *SHORT) == 2
    asked = 'gone.* say where with --cfg-options train_dataloader.dataset.data_root=DIR'
    assert re.search(asked, capsys.readouterr().err)


@pytest.mark.parametrize(
    ('option', 'said'),
    [
        ('optim_wraper.optimizer.lr=1.0', r'optim_wraper\.optimizer\.lr: .* did you mean optim_wrapper'),
        ('optim_wrapper.optimizer.lrr=1.0', r'optim_wrapper\.optimizer\.lrr: SGD has no argument lrr, did you mean lr'),
        ('train_dataloader.bach_size=8', r'train_dataloader\.bach_size: .* did you mean batch_size'),
        ('train_dataloader.dataset.num_image=8', r'train_dataloader\.dataset\.num_image: .* did you mean num_images'),
    ],
)
def test_a_misspelt_option_is_named(option, said, tool, work_dir, monkeypatch, capsys):
    assert call(tool, monkeypatch, work_dir, '--epochs', '1', *SHORT, option) == 2
    assert re.search(f'error: .*{said}', capsys.readouterr().err)


def broken_folders(root):
    """A config of two classes, of which the first third of the validation images cannot be read."""
    cfg = pretraining_config()
    for split in ('train', 'val'):
        folder = make_folder(root / split, ('cat', 'dog'))
        cfg.custom_hooks[0][f'{split}_dataloader'] = folder_loader(folder)
    for index in (0, 2):
        (root / f'val/cat/{index}.png').write_bytes(b'')
    return cfg


def test_validation_images_that_cannot_be_read_are_left_out_and_said_once(tool, work_dir, tmp_path, monkeypatch):
    broken_folders(tmp_path).dump(work_dir / 'moco.py')
    assert call(tool, monkeypatch, work_dir, '--epochs', '2', *SHORT) == 0
    result = json.loads((work_dir / 'linear_eval.json').read_text())
    assert (result['train_images'], result['val_images'], result['unreadable_val_images']) == (6, 4, 2)
    assert result['top1'] in (0, 25, 50, 75, 100) and 'left_out' not in result
    (log,) = (work_dir / 'linear').glob('*/*.log')
    assert log.read_text().count('2 of 6 images of val_dataloader cannot be read: they are left out') == 1


def _rank(folder, cfg=None):
    os.environ['LOCAL_RANK'] = str(torch.distributed.get_rank())
    protocol = Config.fromfile(ROOT / 'configs/_base_/linear_small.py')
    protocol.batch_size, protocol.num_workers = 16, 0
    cfg = linear_config(cfg or pretraining_config(), f'{folder}/epoch_3.pth', protocol, epochs=2, world_size=2)
    cfg.merge_from_dict(dict(work_dir=f'{folder}/linear', launcher='pytorch'))
    with DefaultScope.overwrite_default_scope(None):
        return run_linear(cfg, f'{folder}/linear_eval.json')


def test_two_processes_share_the_batch_and_agree_on_the_accuracy(work_dir, tmp_path):
    (tmp_path / 'meet').mkdir()
    first, second = in_processes(_rank, tmp_path / 'meet', str(work_dir))
    assert first == second == json.loads((work_dir / 'linear_eval.json').read_text())
    assert (first['batch_size'], first['val_images']) == (16, 12)


def test_two_processes_leave_out_the_same_images_as_one(work_dir, tmp_path):
    (tmp_path / 'meet').mkdir()
    first, second = in_processes(_rank_of_broken, tmp_path / 'meet', work_dir)
    assert first == second and (first['val_images'], first['unreadable_val_images']) == (4, 2)
    assert first['top1'] in (0, 25, 50, 75, 100)


def _rank_of_broken(work_dir):
    folder = work_dir / f'data{torch.distributed.get_rank()}'
    return _rank(str(work_dir), broken_folders(folder))


VIT = dict(
    type='viewplug.QueryViT',
    model_name='vit_tiny_patch16_224',
    img_size=32,
    patch_size=8,
    embed_dim=12,
    depth=3,
    num_heads=3,
    mask_token=True,
    drop_path_rate=0.1,
)


@pytest.mark.parametrize('last', [None, 2])
def test_a_query_vit_is_probed_by_its_class_tokens(tool, work_dir, monkeypatch, tmp_path, last):
    cfg = pretraining_config()
    cfg.model.backbone = VIT
    for old in work_dir.glob('*.py'):
        old.unlink()
    cfg.dump(work_dir / 'dino.py')
    branch = dict(
        neck=dict(type='MLPNeck', out_channels=4),
        head=dict(type='QueueHead', queue_len=4, loss=dict(type='InfoNCELoss')),
    )
    model = Siamese(backbone=VIT, branches=dict(image=branch), target=dict(type='MomentumTarget'))
    model.init_weights()
    torch.save(dict(state_dict=model.state_dict()), work_dir / 'epoch_3.pth')
    protocol = 'small'
    if last:
        protocol = tmp_path / 'dino_protocol.py'
        small = (ROOT / 'configs/_base_/linear_small.py').read_text()
        protocol.write_text(f"{small}\nbackbone = dict(out='cls', out_indices=(-2, -1))\n")
    assert call(tool, monkeypatch, work_dir, '--epochs', '1', '--protocol', protocol, *SHORT) == 0
    after = torch.load(work_dir / 'linear/epoch_1.pth', weights_only=False)['state_dict']
    assert after['head.fc.weight'].shape == (3, 12 * (last or 1))
    expected = model.backbone.state_dict()
    assert all(torch.equal(value, after[f'backbone.{key}']) for key, value in expected.items())


OTHERS = dict(
    dino_r50_in1k=toy_resnet(),
    dino_mmpretrain_vit_small_in1k=dict(
        type='mmpretrain.VisionTransformer',
        arch=dict(embed_dims=12, num_layers=3, num_heads=3, feedforward_channels=24),
        img_size=32,
        patch_size=8,
        out_type='cls_token',
    ),
)


@pytest.mark.parametrize('name', OTHERS)
def test_a_backbone_without_dinos_class_tokens_is_a_sentence_and_the_last_output_is_probed(
    tool, work_dir, monkeypatch, capsys, name
):
    trained = Config.fromfile(ROOT / f'configs/adclr/{name}.py').model.backbone
    backbone = OTHERS[name]
    assert backbone['type'] == trained.type and backbone.get('out_type') == trained.get('out_type')
    cfg = pretraining_config()
    cfg.model.backbone = backbone
    cfg.dump(work_dir / 'moco.py')
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        state = MODELS.build(backbone).state_dict()
    torch.save(dict(state_dict={f'target.backbone.{key}': v for key, v in state.items()}), work_dir / 'epoch_3.pth')
    arguments = [work_dir, '--epochs', '1', '--prefix', 'target.backbone.']
    for protocol in ('linear_vit_small', 'linear_vit_base'):
        assert call(tool, monkeypatch, *arguments, '--protocol', ROOT / f'configs/_base_/{protocol}.py') == 2
        error = capsys.readouterr().err.splitlines()[-1]
        assert "the protocol sets backbone=dict(out='cls" in error
        assert f"model.backbone.type='{trained.type}'" in error and '--protocol imagenet' in error
    assert call(tool, monkeypatch, *arguments, '--protocol', 'imagenet', *SHORT) == 0
    after = torch.load(work_dir / 'linear/epoch_1.pth', weights_only=False)['state_dict']
    assert after['head.fc.weight'].shape == (3, 64 if 'r50' in name else 12)
