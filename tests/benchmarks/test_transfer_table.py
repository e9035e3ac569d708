"""The table of detectors from eight kinds of pre-training: its pairs, its configs, its cells."""

import sys
from pathlib import Path

import pytest
from PIL import Image

ROOT = Path(__file__).resolve().parents[2]
sys.path.append(str(ROOT / 'benchmarks'))

import transfer_table  # noqa: E402


def test_the_table_pairs_each_row_with_moco_of_its_seed(tmp_path):
    cells = [
        dict(row=row, tuning=tuning, seed=seed, ap=ap + seed, ap50=ap, ap75=ap)
        for tuning in ('full', 'frozen')
        for row, ap in (('random', 5.0), ('MoCo v2', 10.0), ('+ HCL', 12.0))
        for seed in (0, 1)
    ]
    lines = transfer_table.table(cells).splitlines()
    assert lines[0] == 'Full fine-tuning:' and 'Frozen backbone:' in lines
    assert '| + HCL | 12.5 ± 0.7 | 12.0 ± 0.0 | 12.0 ± 0.0 | +2.0 | 2 |' in lines
    assert '| random | 5.5 ± 0.7 | 5.0 ± 0.0 | 5.0 ± 0.0 | -5.0 | 2 |' in lines
    transfer_table.draw(cells[:-1], tmp_path / 'table.png')
    assert Image.open(tmp_path / 'table.png').size[0] > 500


def test_every_row_of_the_table_names_configs_that_are_there():
    for config, _, detector in transfer_table.ROWS.values():
        assert config is None or (ROOT / config).is_file()
        assert (ROOT / detector).is_file()
    args = transfer_table.parse_args(['--quick'])
    assert (args.seeds, args.tuning) == ([0], ['full']) and set(args.rows) == set(transfer_table.ROWS)


@pytest.mark.parametrize(
    ('options', 'name'),
    [
        ([], 'detect_random_full_36_300_200_1'),
        (['--tested', '300'], 'detect_random_full_36_300_200_1'),
        (['--tested', '100'], 'detect_random_full_36_300_200_1_tested_100'),
        (['--quick', '--labelled', '50'], 'detect_random_full_6_200_50_1'),
    ],
)
def test_the_folder_of_a_cell_names_its_setting(options, name, monkeypatch, tmp_path):
    folders = []
    monkeypatch.setattr(transfer_table, 'fine_tune', lambda scenes, folder, *args: folders.append(folder) or {})
    args = transfer_table.parse_args([*options, '--work-dir', str(tmp_path)])
    found = transfer_table.cell('random', 'full', 1, args, tmp_path / 'scenes')
    assert folders == [tmp_path / name] and found == dict(row='random', tuning='full', seed=1)
