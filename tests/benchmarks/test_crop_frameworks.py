"""R-Crop against C-Crop: what a cell trains, one cell from files to accuracy, and that none is run twice."""

import argparse
import gzip
import json
import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from benchmarks import crop_frameworks
from benchmarks.crop_cells import cell_config, folder
from benchmarks.crop_frameworks import EPOCHS, LINEAR_EPOCHS, linear_args, main, run_cell, table

FRAMEWORKS = ('simclr', 'moco', 'byol', 'simsiam')


def given(data: str, **changes) -> argparse.Namespace:
    usual = dict(epochs=EPOCHS[data], linear_epochs=LINEAR_EPOCHS[data], threshold=0.1)
    nothing = dict.fromkeys(('images', 'batch', 'data_root', 'amp', 'object_scale'))
    return argparse.Namespace(**{'data': data, **usual, **nothing, **changes})


def hooks(cfg, kind: str) -> list:
    return [hook for hook in cfg.custom_hooks if hook.type == f'viewplug.{kind}']


@pytest.mark.parametrize('data', ['scenes', 'fashion_mnist'])
@pytest.mark.parametrize('framework', FRAMEWORKS)
def test_a_cell_is_the_papers_protocol_on_other_data_at_another_length(data, framework):
    cfg = cell_config(framework, 'ccrop', 3, given(data, epochs=100))
    assert (cfg.model.backbone.depth, cfg.train_dataloader.batch_size, cfg.optim_wrapper.optimizer.lr) == (18, 512, 0.5)
    assert cfg.model.backbone.get('base_channels', 64) == 64
    assert cfg.train_cfg.max_epochs == 100 and cfg.randomness.seed == 3
    (boxes,), (knn,) = hooks(cfg, 'LocalizationHook'), hooks(cfg, 'KNNHook')
    assert (boxes.start, boxes.interval, knn.interval) == (20, 20, 20)
    kind = 'viewplug.ShapeScenes' if data == 'scenes' else 'viewplug.FashionMNIST'
    datasets = [cfg.train_dataloader.dataset, knn.train_dataloader.dataset, knn.val_dataloader.dataset]
    assert [dataset.type for dataset in datasets] == [kind] * 3
    assert cfg.train_dataloader.dataset.pipeline[-2].transforms[0][0].scale == 32
    assert (cfg.views, cfg.in_memory) == ('device', True)
    if framework == 'moco':
        assert cfg.model.branches.image.head.queue_len == (10_000 if data == 'scenes' else 65536)


def test_less_images_and_smaller_batches_take_queue_and_learning_rate_along(tmp_path):
    cfg = cell_config('moco', 'rcrop', 0, given('fashion_mnist', images=1000, batch=64, data_root=tmp_path))
    assert cfg.train_dataloader.dataset.indices == cfg.model.branches.image.head.queue_len == 1000
    assert cfg.train_dataloader.batch_size == 64
    assert cfg.auto_scale_lr.enable and cfg.auto_scale_lr.base_batch_size == 512
    (knn,) = hooks(cfg, 'KNNHook')
    assert cfg.train_dataloader.dataset.data_root == knn.val_dataloader.dataset.data_root == str(tmp_path)


def test_the_demo_is_as_its_kept_results_were_made():
    cfg = cell_config('byol', 'ccrop', 0, given('demo'))
    assert (cfg.model.backbone.base_channels, cfg.train_dataloader.batch_size) == (16, 64)
    assert (hooks(cfg, 'LocalizationHook')[0].interval, hooks(cfg, 'KNNHook')[0].interval) == (3, 3)
    kept = json.loads((crop_frameworks.ROOT / 'benchmarks/results/crop_frameworks.json').read_text())
    assert kept['setting']['linear'] == ' '.join(linear_args(given('demo')))


@pytest.mark.parametrize('data', ['demo', 'scenes'])
def test_objects_of_another_size_are_in_all_images(data, tmp_path):
    cfg = cell_config('moco', 'ccrop', 0, given(data, object_scale=[0.2, 0.35]))
    (knn,) = hooks(cfg, 'KNNHook')
    datasets = [cfg.train_dataloader.dataset, knn.train_dataloader.dataset, knn.val_dataloader.dataset]
    assert [dataset.object_scale for dataset in datasets] == [(0.2, 0.35)] * 3
    folders = [
        folder('moco', 'ccrop', 0, given(data, object_scale=scale, work_dir=tmp_path))
        for scale in (None, [0.2, 0.35], [0.2, 0.3])
    ]
    assert len(set(folders)) == 3
    with pytest.raises(SystemExit):
        main(['--data', data, 'fashion_mnist', '--object-scale', '0.2', '0.3'])


def write_idx(path: Path, array: np.ndarray) -> None:
    """Two zero bytes, type (8: uint8), dimensions, sizes as big-endian int32."""
    head = bytes([0, 0, 8, array.ndim]) + b''.join(n.to_bytes(4, 'big') for n in array.shape)
    with gzip.open(path, 'wb') as file:
        file.write(head + array.tobytes())


def test_a_cell_goes_from_files_to_accuracies_and_is_not_repeated(tmp_path, monkeypatch):
    for name, number in (('train', 16), ('t10k', 8)):
        images = np.random.default_rng(0).integers(0, 256, (number, 28, 28), dtype=np.uint8)
        write_idx(tmp_path / f'{name}-images-idx3-ubyte.gz', images)
        write_idx(tmp_path / f'{name}-labels-idx1-ubyte.gz', np.arange(number, dtype=np.uint8) % 10)

    def narrow(*cell):
        cfg = cell_config(*cell)
        cfg.model.backbone.update(stem_channels=16, base_channels=16)
        return cfg

    monkeypatch.setattr(crop_frameworks, 'cell_config', narrow)
    sizes = dict(epochs=2, linear_epochs=1, batch=8, data_root=tmp_path)
    args = given('fashion_mnist', work_dir=tmp_path / 'runs', **sizes)
    row = run_cell('simclr', 'ccrop', 0, args)
    assert all(0 <= row[key] <= 100 for key in ('untrained', 'knn', 'linear'))
    assert row['minutes'] > 0 and row['images_per_second'] > 0
    monkeypatch.setattr(crop_frameworks, 'call', lambda *args: pytest.fail('run again'))
    assert run_cell('simclr', 'ccrop', 0, args) == row
    without = run_cell('simclr', 'ccrop', 0, argparse.Namespace(**{**vars(args), 'linear_epochs': 0}))
    assert 'linear' not in without and without['knn'] == row['knn']


def test_one_command_fills_a_table_for_each_kind_of_data(tmp_path, monkeypatch, capsys):
    cells = []

    def run(framework, crop, seed, args):
        cells.append((args.data, args.epochs, framework, crop, seed))
        return dict(framework=framework, crop=crop, seed=seed, untrained=10.0, knn=20.0 + seed, minutes=2.0)

    monkeypatch.setattr(crop_frameworks, 'run_cell', run)
    main(['--data', 'fashion_mnist', 'scenes', '--seeds', '0', '1', '--out', str(tmp_path / 'out/crops')])
    assert len(cells) == 2 * 4 * 2 * 2 and {cell[:2] for cell in cells} == {('fashion_mnist', 200), ('scenes', 200)}
    assert {path.name for path in (tmp_path / 'out').iterdir()} == {
        f'crops_{data}.{kind}' for data in ('fashion_mnist', 'scenes') for kind in ('json', 'md')
    }
    with pytest.raises(SystemExit, match='another setting'):
        main(['--data', 'scenes', '--epochs', '7', '--out', str(tmp_path / 'out/crops')])


def test_a_difference_is_of_runs_with_the_same_seed():
    rows = [
        dict(framework='moco', crop=crop, seed=seed, untrained=10.0, knn=knn)
        for crop, seed, knn in (('rcrop', 0, 20.0), ('rcrop', 1, 40.0), ('ccrop', 0, 21.0), ('ccrop', 1, 43.0))
    ]
    rows[0] |= dict(linear=50.0, minutes=1.5, images_per_second=1000.2)
    last = table(rows).splitlines()[-1]
    assert last == '| moco | 30.0 ± 14.1 | 32.0 ± 15.6 | +2.0 ± 1.4 | 50.0 |  |  | 10.0 ± 0.0 | 2 | 1.5 | 1000 |'
