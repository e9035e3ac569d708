"""The matrix of Fig. 5: its cells, that one branch only is changed, and that it goes on where it stopped."""

import json
import sys
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from benchmarks import simclr_fig5, small_simclr
from benchmarks.simclr_fig5 import OPERATORS, cells, main, matrix, table, views_of


def test_nine_operators_alone_and_in_pairs():
    assert len(OPERATORS) == 9
    assert len(cells(ordered=False)) == 9 + 36 and len(set(cells(ordered=True))) == 81
    images = torch.randint(0, 256, (16, 3, 32, 32), dtype=torch.uint8)
    for name in OPERATORS:
        (view,) = views_of(name, name)
        changed = view(images.float(), generator=torch.Generator().manual_seed(0))[0]
        assert changed.shape == images.shape and (changed - images).abs().mean() > 0.5, name
    assert len(views_of('crop', 'blur')) == 2


def test_one_branch_is_the_common_crop_and_the_other_what_the_operators_make_of_it():
    model = small_simclr.build()
    seen = []
    loss_of = model.loss
    model.loss = lambda views: seen.append(views) or loss_of(views)
    images = torch.randint(0, 256, (20, 3, 48, 48), dtype=torch.uint8)
    run = small_simclr.train(model, images, [[], views_of('rotate', 'rotate')], steps=2, batch_size=6)
    assert run.steps == 2 and len(seen) == 2
    for plain, turned in seen:
        for a, b in zip(plain, turned, strict=True):
            assert any(torch.allclose(a.rot90(turn, (1, 2)), b, atol=1e-4) for turn in (1, 2, 3))


def test_training_stops_when_its_time_is_over():
    images = torch.randint(0, 256, (8, 3, 48, 48), dtype=torch.uint8)
    run = small_simclr.train(small_simclr.build(), images, [[], []], steps=10**6, batch_size=4, most_seconds=0.5)
    assert 1 <= run.steps < 10**4 and run.seconds < 5


@pytest.fixture
def quick(monkeypatch):
    kept = {name: OPERATORS[name] for name in ('crop', 'color_jitter')}
    monkeypatch.setattr(simclr_fig5, 'OPERATORS', kept)


def test_finished_cells_are_kept_and_shares_make_up_the_matrix(quick, tmp_path, monkeypatch, capsys):
    store, out = tmp_path / 'store.jsonl', tmp_path / 'fig5'
    arguments = ['fig5', '--steps', '2', '--images', '30', '60', '20', '--store', str(store), '--out', str(out)]
    monkeypatch.setattr(sys, 'argv', [*arguments, '--share', '1/2'])
    assert main() == 0
    assert len(store.read_text().splitlines()) == 1 + 2
    first = store.read_text()
    monkeypatch.setattr(sys, 'argv', arguments)
    assert main() == 0
    assert store.read_text().startswith(first) and len(store.read_text().splitlines()) == 1 + 3
    assert main() == 0
    assert len(store.read_text().splitlines()) == 1 + 3
    rows = json.loads(out.with_suffix('.json').read_text())['rows']
    assert [(row['first'], row['second']) for row in rows] == [
        ('crop', 'crop'),
        ('color_jitter', 'color_jitter'),
        ('crop', 'color_jitter'),
    ]
    assert out.with_suffix('.png').stat().st_size > 5000 and '3 runs of 2 steps (0 were' in capsys.readouterr().out
    monkeypatch.setattr(sys, 'argv', [*arguments, '--steps', '3'])
    assert main() == 2


def test_a_pair_counts_for_both_orders_until_the_other_is_measured():
    row = dict(steps=5, seed=0)
    rows = [
        dict(row, first='crop', second='blur', top1=40.0),
        dict(row, first='crop', second='blur', top1=50.0, seed=1),
    ]
    assert matrix(rows) == {('crop', 'blur'): 45.0, ('blur', 'crop'): 45.0}
    rows.append(dict(row, first='blur', second='crop', top1=10.0))
    assert matrix(rows)['blur', 'crop'] == 10.0 and matrix(rows)['crop', 'blur'] == 45.0
    assert '(1 were cut short by the clock)' in table([dict(rows[0], steps=3)], dict(steps=5))


def test_how_far_seeds_are_apart_is_said_where_there_are_several():
    rows = [dict(first='crop', second='crop', top1=top1, steps=5, seed=seed) for seed, top1 in enumerate((20.0, 23.5))]
    rows.append(dict(first='crop', second='blur', top1=30.0, steps=5, seed=0))
    assert matrix(rows)['crop', 'crop'] == 21.75
    assert "A cell's seeds are 3.5 apart on average, 3.5 at most." in table(rows, dict(steps=5))
    assert 'apart' not in table(rows[1:], dict(steps=5))
