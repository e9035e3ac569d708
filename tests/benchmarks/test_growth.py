"""Growth of cost: every axis' step runs, curves are told from knees, and axes measured later join those stored."""

import json
import sys
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from benchmarks import growth, growth_steps
from benchmarks.growth_report import LABELS, WHAT, fit, fits_of, table


def rows_of(axis: str, what: str, seconds: dict[int, float]) -> list[dict]:
    return [
        dict(axis=axis, what=what, value=value, steps=3, bytes=2**20 * (value + 1), seconds=s, bare=s / 2, over_bare=2)
        for value, s in seconds.items()
    ]


def fake_point(what: str, setting: dict, seconds: float, threads: int, device: str) -> dict:
    """As on a machine where threads share the work evenly."""
    time = sum(setting.values()) / threads
    return dict(times=[time, 2 * time], bare=[time, time], bytes=2**20 * sum(setting.values()))


@pytest.fixture
def few(monkeypatch):
    """Two or three points an axis, and no process is started."""
    monkeypatch.setattr(growth, 'AXES', {axis: (1, 2, 4)[-2 if axis == 'views' else 0 :] for axis in growth.AXES})
    monkeypatch.setattr(growth, 'measure_apart', fake_point)


def test_every_axis_has_something_to_measure_and_a_name():
    assert list(growth.AXES) == list(growth.WHATS) == list(LABELS)
    assert {what for whats in growth.WHATS.values() for what in whats} == set(growth_steps.STEPS) == set(WHAT)


@pytest.mark.parametrize(
    ('what', 'setting'),
    [
        ('head', dict(batch=4, queue=16, views=2)),
        ('RegionHead', dict(regions=2)),
        ('DINO head', dict(prototypes=32)),
        ('QueryViT', dict(queries=0)),
        ('QueryViT', dict(queries=3)),
    ],
)
def test_step_and_bare_work_run_by_turns(what, setting, monkeypatch):
    monkeypatch.setattr(growth_steps, 'IMAGES', 1)
    found = growth.measure(what, setting, seconds=0, threads=1, device='cpu')
    assert len(found['times']) == len(found['bare']) == 3 and min(found['times'] + found['bare']) > 0
    assert isinstance(found['bytes'], int)


def test_bare_regions_are_as_many_as_those_of_the_head(monkeypatch):
    from viewplug.heads import region

    seen = []
    original = region.weighted_info_nce
    monkeypatch.setattr(
        region, 'weighted_info_nce', lambda q, p, n, *rest: seen.append((q, n)) or original(q, p, n, *rest)
    )
    step, bare = growth_steps.region_step('cpu', 3)
    step()
    assert [tuple(len(part) for part in seen[0])] == [(3 * 36, 3 * 144)]
    products = []
    softmax = torch.softmax
    monkeypatch.setattr(torch, 'softmax', lambda x, dim: products.append(tuple(x.shape)) or softmax(x, dim))
    bare()
    assert sum(rows for rows, _ in products) == 3 * 36 and {columns for _, columns in products} == {3 * 144}


def test_a_square_is_expected_of_regions_and_a_knee_elsewhere():
    seconds = {x: 1 + 2 * x + 3 * x**2 for x in (1, 2, 4, 8)}
    square = fit(rows_of('regions', 'RegionHead', seconds), 'regions', 'RegionHead', 'seconds')
    assert (square['intercept'], square['slope'], square['square']) == pytest.approx((1, 2, 3))
    assert abs(square['deviation']) < 1e-9
    line = fit(rows_of('queries', 'QueryViT', seconds), 'queries', 'QueryViT', 'seconds')
    assert line['square'] == 0 and abs(line['deviation']) > 0.1


def test_the_table_has_the_time_of_an_image_where_images_are_counted():
    rows = rows_of('regions', 'RegionHead', {8: 0.4, 16: 1.2}) + rows_of('queries', 'QueryViT', {0: 0.5, 5: 0.6})
    how = dict(device='cpu', threads=1, passes=2, seconds=2, torch='2')
    lines = table(rows, fits_of(rows), dict(regions=how, queries=how | dict(threads=2))).splitlines()
    assert lines[2] == '| regions | 8 | RegionHead | 400.0 | 50.00 | 2.00 | 9 |'
    assert lines[4] == '| queries | 0 | QueryViT | 500.0 |  | 2.00 | 1 |'
    assert any('square of the images by construction' in line for line in lines)
    assert lines[-3:] == [
        'regions: cpu, threads 1, passes 2 of 2 s a point, torch 2.',
        '',
        'queries: cpu, threads 2, passes 2 of 2 s a point, torch 2.',
    ]


def test_axes_measured_later_join_the_stored_ones(few, tmp_path):
    out = tmp_path / 'folder/growth'

    def run(*axes: str, threads: int) -> dict:
        growth.main(['--axes', *axes, '--threads', str(threads), '--device', 'cpu', '--out', str(out)])
        return json.loads(out.with_suffix('.json').read_text())

    run('queries', 'batch', threads=1)
    found = run('regions', 'queries', threads=2)
    assert [(row['axis'], row['value']) for row in found['rows']] == [
        (axis, value) for axis in ('batch', 'regions', 'queries') for value in (1, 2, 4)
    ]
    assert found['rows'][0]['seconds'] == 1 + 4096 + 2 and found['rows'][-1]['seconds'] == 4 / 2
    assert {axis: how['threads'] for axis, how in found['settings'].items()} == dict(batch=1, regions=2, queries=2)
    assert [(one['axis'], one['quantity']) for one in found['fits']] == [
        (axis, quantity) for axis in ('batch', 'regions', 'queries') for quantity in ('seconds', 'bytes')
    ]
    assert out.with_suffix('.png').stat().st_size > 10_000


def test_a_file_with_one_setting_for_all_is_joined_and_a_full_run_replaces_it(few, tmp_path):
    out = tmp_path / 'growth.json'
    setting = dict(passes=1, seconds=1.0, threads=3, device='cpu', torch='1', dim=128)
    out.write_text(json.dumps(dict(setting=setting, rows=rows_of('views', 'step', {2: 1, 3: 2}))))
    rows, settings = growth.stored_rows(out, without=['regions'])
    assert [row['value'] for row in rows] == [2, 3] and settings == dict(views=setting)
    growth.main(['--device', 'cpu', '--out', str(out.with_suffix(''))])
    found = json.loads(out.read_text())
    assert list(found['settings']) == list(growth.AXES) and {how['threads'] for how in found['settings'].values()} == {
        2
    }
    assert [row['value'] for row in found['rows'] if row['axis'] == 'views'] == [2, 4]


@pytest.mark.parametrize(('device', 'kept'), [('cpu', 1), ('cuda', 0)])
def test_a_process_of_a_point_keeps_freed_memory_on_a_cpu(device, kept, monkeypatch, capsys):
    calls = []
    monkeypatch.setattr(growth, 'keep_freed_memory', lambda: calls.append(1))
    monkeypatch.setattr(growth, 'measure', fake_point)
    monkeypatch.setattr(growth, 'usable_device', str)  # where there is no GPU too
    point = json.dumps(dict(what='QueryViT', setting=dict(queries=4), seconds=0))
    growth.main(['--point', point, '--threads', '2', '--device', device])
    assert json.loads(capsys.readouterr().out)['times'] == [2, 4] and len(calls) == kept
