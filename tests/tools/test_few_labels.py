"""Few labels and invariance probes: one command over a pre-training run's work dir."""

import importlib.util
import json
import re
import sys
from pathlib import Path

import pytest
import torch
from labelled_folders import image_folder, make_folder
from mmengine import Config
from mmengine.registry import MODELS, DefaultScope
from mmpretrain.structures import DataSample
from toys import toy_resnet

from viewplug.datasets import ShapeScenes
from viewplug.evaluation.few_labels import MODES, few_label_config, labels_of
from viewplug.evaluation.provenance import stored_result
from viewplug.frameworks import Siamese

ROOT = Path(__file__).resolve().parents[2]
BRANCH = dict(
    neck=dict(type='viewplug.MLPNeck', out_channels=4),
    head=dict(type='viewplug.InBatchHead', loss=dict(type='viewplug.InfoNCELoss')),
)
SHORT = ['--steps', '2', '--batch-size', '8', '--no-augment', '--blocks', '1', '--channels', '8', '--cfg-options']
SHORT += [f'{loader}_dataloader.{key}' for loader in ('train', 'val') for key in ('num_workers=0',)]
SHORT += [f'{loader}_dataloader.persistent_workers=False' for loader in ('train', 'val')]


def tool(name: str):
    spec = importlib.util.spec_from_file_location(name, ROOT / f'tools/{name}.py')
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def call(name: str, monkeypatch, *args) -> int:
    monkeypatch.setattr(sys, 'argv', [f'{name}.py', *map(str, args)])
    return tool(name).main()


def scenes(split: str, number: int) -> dict:
    pipeline = [dict(type='mmpretrain.Resize', scale=(32, 32)), dict(type='mmpretrain.PackInputs')]
    return dict(
        type='viewplug.ShapeScenes', image_size=40, num_classes=6, split=split, num_images=number, pipeline=pipeline
    )


def pretraining() -> Config:
    crop = [dict(type='viewplug.RandomResizedCrop', scale=32)]
    steps = [dict(type='viewplug.MultiView', num_views=2, transforms=[crop]), dict(type='PackInputs')]
    knn = dict(type='viewplug.KNNHook')
    knn.update({f'{s}_dataloader': dict(dataset=scenes(s, n)) for s, n in dict(train=60, val=12).items()})
    return Config(
        dict(
            model=dict(
                type='viewplug.Siamese',
                backbone=toy_resnet(),
                branches=dict(image=BRANCH),
                target=dict(type='viewplug.SharedTarget'),
                online_views=(0, 1),
                target_views=(0, 1),
            ),
            data_preprocessor=dict(mean=[120.0] * 3, std=[60.0] * 3, to_rgb=True),
            train_dataloader=dict(dataset=dict(scenes('train', 60), pipeline=steps)),
            custom_hooks=[knn],
        )
    )


@pytest.fixture
def work_dir(tmp_path):
    """What a run of mmengine leaves: its config, a checkpoint, last_checkpoint."""
    folder = tmp_path / 'run'
    folder.mkdir()
    cfg = pretraining()
    cfg.dump(folder / 'simclr.py')
    parts = {key: value for key, value in cfg.model.items() if key != 'type'}
    model = Siamese(**parts, data_preprocessor=cfg.data_preprocessor)
    model.init_weights()
    torch.save(dict(state_dict=model.state_dict()), folder / 'epoch_3.pth')
    (folder / 'last_checkpoint').write_text(str(folder / 'epoch_3.pth'))
    return folder


def test_each_cell_is_trained_once_on_its_own_labels_and_reported(work_dir, monkeypatch, capsys):
    modes = ['--modes', *MODES]
    assert call('few_labels', monkeypatch, work_dir, '--fractions', 20, *modes, *SHORT) == 0
    rows = json.loads((work_dir / 'few_labels.json').read_text())
    assert [(row['mode'], row['percent']) for row in rows] == [(mode, 20.0) for mode in MODES]
    lines = (work_dir / 'few_labels/subsets/seed0_20pct.txt').read_text().splitlines()
    subset = [tuple(map(int, line.split())) for line in lines]
    assert len({position for position, _ in subset}) == len(subset) == rows[0]['train_images'] < 60
    dataset = ShapeScenes(num_images=60, image_size=40, num_classes=6)
    assert all(dataset.renderer.layout.label(position) == label for position, label in subset)
    assert all(0 <= row['top1'] <= row['top5'] <= 100 and row['val_images'] == 12 for row in rows)
    assert str(work_dir.parent) not in (work_dir / 'few_labels.json').read_text()
    assert '| supervised |' in capsys.readouterr().out and (work_dir / 'few_labels.png').stat().st_size > 5000

    before = torch.load(work_dir / 'epoch_3.pth', weights_only=False)['state_dict']
    for mode in MODES:
        (path,) = (work_dir / f'few_labels/runs/{mode}_20pct_seed0').glob('epoch_*.pth')
        after = torch.load(path, weights_only=False)['state_dict']
        moved = [not torch.equal(v, before[k]) for k, v in after.items() if k.startswith('backbone.') and 'conv' in k]
        assert (not any(moved)) if mode in ('linear', 'fixed') else all(moved), mode

    monkeypatch.setattr('viewplug.evaluation.linear.run_linear', None)  # nothing is trained again
    assert call('few_labels', monkeypatch, work_dir, '--fractions', 20, 20, *modes, MODES[0], *SHORT) == 0
    assert json.loads((work_dir / 'few_labels.json').read_text()) == rows  # a cell asked for twice is in it once

    file = work_dir / 'few_labels' / f'{MODES[0]}_20pct_seed0.json'
    file.write_text('{"top1": 3')
    assert stored_result(file, {}) == (None, f'{file} is no JSON, or was cut short: computed again')


def test_a_cell_of_another_checkpoint_option_or_data_set_is_computed_again_and_both_are_said(
    work_dir, monkeypatch, capsys
):
    runs = []
    monkeypatch.setattr('viewplug.evaluation.linear.run_linear', lambda cfg, file, **notes: stored(file, runs, notes))

    def lines(*options, modes=('linear', 'supervised')):
        assert call('few_labels', monkeypatch, work_dir, '--fractions', 50, '--modes', *modes, *options) == 0
        return [
            line
            for line in capsys.readouterr().out.splitlines()
            if line.startswith('warning') or line.endswith(('again', '.json'))
        ]

    files = [work_dir / f'few_labels/{mode}_50pct_seed0.json' for mode in ('linear', 'supervised')]
    assert lines('--steps', 10) == [] and len(runs) == 2
    assert lines('--steps', 10) == [f'taken from {file}' for file in files] and len(runs) == 2
    again = [f'{file} was made with steps=10, now 99999: computed again' for file in files]
    assert lines('--steps', 99999) == again and len(runs) == 4
    state = torch.load(work_dir / 'epoch_3.pth', weights_only=False)
    torch.save(dict(state, more=1), work_dir / 'epoch_4.pth')
    linear, supervised = lines('--steps', 99999, '--checkpoint', 'epoch_4.pth')
    assert re.fullmatch(
        rf'{files[0]} was made with checkpoint=epoch_3.pth \(\w+\), now epoch_4.pth \(\w+\): .*', linear
    )
    assert supervised == f'taken from {files[1]}' and len(runs) == 5  # random weights are those of no checkpoint
    cfg = pretraining()
    cfg.custom_hooks[0].val_dataloader.dataset.num_images = 13
    cfg.dump(work_dir / 'simclr.py')
    assert all('val_data=' in line for line in lines('--steps', 99999, '--checkpoint', 'epoch_4.pth'))
    options = ['--steps', 99999, '--checkpoint', 'epoch_4.pth', '--cfg-options', 'optim_wrapper.optimizer.lr=0.5']
    assert all('now {"optim_wrapper.optimizer.lr": 0.5}' in line for line in lines(*options))
    files[0].write_text(
        json.dumps({key: v for key, v in json.loads(files[0].read_text()).items() if key != 'made_with'})
    )
    before = len(runs)
    assert lines(*options)[0] == (
        f'warning: {files[0]} is taken as it is, made before provenance was recorded; delete it to compute it again'
    )
    assert len(runs) == before and 'made_with' not in json.loads(files[0].read_text())


def test_names_without_a_prefix_are_those_of_the_run(work_dir, monkeypatch):
    cfg, runs = pretraining(), []
    for split in ('train', 'val'):
        for step in cfg.custom_hooks[0][f'{split}_dataloader'].dataset.pipeline:
            step.type = step.type.split('.')[-1]
    cfg.dump(work_dir / 'simclr.py')
    monkeypatch.setattr('viewplug.evaluation.linear.run_linear', lambda cfg, file, **notes: stored(file, runs, notes))
    with DefaultScope.overwrite_default_scope('mmengine'):  # as in a process that has run nothing yet
        assert call('few_labels', monkeypatch, work_dir, '--fractions', 50, '--modes', 'linear') == 0
    assert len(runs) == 1


def test_neither_a_moved_data_folder_nor_another_number_of_workers_computes_a_cell_again(
    work_dir, tmp_path, monkeypatch, capsys
):
    runs = []
    monkeypatch.setattr('viewplug.evaluation.linear.run_linear', lambda cfg, file, **notes: stored(file, runs, notes))

    def trained(root: Path, *options, **changes) -> int:
        cfg, before = pretraining(), len(runs)
        for split in ('train', 'val'):
            cfg.custom_hooks[0][f'{split}_dataloader'].dataset = image_folder(root / split, **changes)
        cfg.dump(work_dir / 'simclr.py')
        assert call('few_labels', monkeypatch, work_dir, '--fractions', 50, '--modes', 'linear', *options) == 0
        return len(runs) - before

    for split in ('train', 'val'):
        make_folder(tmp_path / f'here/{split}')
    assert trained(tmp_path / 'here') == 1
    (tmp_path / 'here').rename(tmp_path / 'there')
    assert trained(tmp_path / 'there') == 0
    assert trained(tmp_path / 'there', '--cfg-options', 'train_dataloader.num_workers=0') == 0
    moved = [f'{split}_dataloader.dataset.data_root={tmp_path / "there" / split}' for split in ('train', 'val')]
    assert trained(tmp_path / 'here', '--cfg-options', *moved) == 0  # options say where it is now
    assert trained(tmp_path / 'there', extensions=['.png']) == 1
    make_folder(tmp_path / 'there/val', number=4)
    assert trained(tmp_path / 'there', extensions=['.png']) == 1


def stored(file: Path, runs: list, notes: dict) -> dict:
    row = dict(top1=1.0, train_images=30, **notes)
    runs.append(row)
    file.write_text(json.dumps(row))
    return row


def test_fine_tuning_starts_from_the_checkpoint_and_the_baseline_does_not(work_dir):
    protocol = Config.fromfile(ROOT / 'configs/_base_/finetune_small.py')
    before = torch.load(work_dir / 'epoch_3.pth', weights_only=False)['state_dict']
    for mode, equal in dict(finetune=True, supervised=False).items():
        checkpoint = str(work_dir / 'epoch_3.pth')
        cfg = few_label_config(mode, pretraining(), checkpoint, protocol, [0, 1, 2], steps=7)
        model = MODELS.build(cfg.model)
        model.init_weights()
        assert torch.equal(model.backbone.conv1.weight, before['backbone.conv1.weight']) == equal
        assert all(parameter.requires_grad for parameter in model.parameters()) and cfg.custom_hooks == []
        assert cfg.train_cfg.max_epochs == 7 and cfg.param_scheduler[0].T_max == 7  # three images are one batch


SWIN = dict(img_size=32, window_size=2, embed_dim=12, depths=(1, 1), num_heads=(1, 2))
VIT = dict(img_size=32, patch_size=8, embed_dim=12, depth=1, num_heads=3)


@pytest.mark.parametrize(
    'sizes', [dict(SWIN, model_name='swin_tiny_patch4_window7_224'), dict(VIT, model_name='vit_tiny_patch16_224')]
)
@pytest.mark.parametrize('mode', ['linear', 'finetune', 'supervised'])
def test_timms_maps_and_tokens_are_learned_from_in_each_mode(mode, sizes, tmp_path):
    cfg = pretraining()
    cfg.model.backbone = dict(type='mmpretrain.TIMMBackbone', **sizes)
    weights = MODELS.build(cfg.model.backbone).state_dict()
    torch.save({f'backbone.{key}': value for key, value in weights.items()}, tmp_path / 'epoch_1.pth')
    protocol = Config.fromfile(ROOT / 'configs/_base_/finetune_small.py')
    made = few_label_config(mode, cfg, str(tmp_path / 'epoch_1.pth'), protocol, [0, 1, 2])
    model = MODELS.build(made.model).train()
    model.loss(torch.randn(2, 3, 32, 32), [DataSample().set_gt_label(label) for label in (0, 5)])['loss'].backward()
    assert model.head.fc.weight.grad.abs().sum() > 0
    assert all((p.grad is not None) == (mode != 'linear') for p in model.backbone.parameters())


def test_the_fine_tuning_protocol_is_simclrs():
    protocol = Config.fromfile(ROOT / 'configs/_base_/finetune_imagenet.py')
    optimizer = protocol.optim_wrapper.optimizer
    assert (protocol.batch_size, optimizer.lr, optimizer.momentum, optimizer.nesterov) == (4096, 0.8, 0.9, True)
    assert optimizer.weight_decay == 0 and optimizer.lr == 0.05 * protocol.batch_size / 256
    assert (protocol.train_cfg.max_epochs, protocol.epochs_below_10_percent) == (30, 60)


def test_mistakes_are_one_sentence_and_exit_code_2(work_dir, tmp_path, monkeypatch, capsys):
    for name, arguments, sentence in (
        ('few_labels', [tmp_path / 'nowhere'], 'no work dir'),
        ('few_labels', [work_dir, '--fractions', 0], 'above 0 and up to 100, got 0'),
        ('few_labels', [work_dir, '--steps', 0], '--steps must be at least 1, got 0'),
        ('few_labels', [work_dir, '--batch-size', 0], '--batch-size must be at least 1, got 0'),
        ('few_labels', [work_dir, '--modes', 'probe'], 'linear, fixed, finetune, supervised, got probe'),
        ('probe_invariances', [work_dir, '--tasks', 'blur'], 'color, rotation, noise, sobel, got blur'),
        ('probe_invariances', [work_dir, '--images', 20, -5], '--images must be at least 1 each, got 20 and -5'),
        ('probe_invariances', [work_dir, '--branch', 'region'], '--branch region: the model has image'),
    ):
        assert call(name, monkeypatch, *arguments) == 2
        error = capsys.readouterr().err
        assert sentence in error.splitlines()[-1] and error.splitlines()[-1].startswith('error: '), name
    with pytest.raises(ValueError, match='from a plain data set, not from a RepeatDataset'):
        labels_of(dict(type='RepeatDataset', dataset=scenes('train', 4), times=2))


def test_probes_of_h_and_g_are_printed_and_written(work_dir, monkeypatch, capsys):
    arguments = [work_dir, '--images', 30, 12, '--tasks', 'color', 'rotation']
    assert call('probe_invariances', monkeypatch, *arguments) == 0
    rows = json.loads((work_dir / 'invariances.json').read_text())
    assert [row['task'] for row in rows] == ['color', 'rotation']
    assert all(0 <= row[key] <= 100 for row in rows for key in ('guess', 'h', 'gh'))
    assert '| colour vs greyscale |' in capsys.readouterr().out
    state = torch.load(work_dir / 'epoch_3.pth', weights_only=False)
    del state['state_dict']['backbone.conv1.weight']
    torch.save(state, work_dir / 'epoch_3.pth')
    assert call('probe_invariances', monkeypatch, *arguments) == 2
    assert "lacks 1 of the model's weights" in capsys.readouterr().err
