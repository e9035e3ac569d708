"""The page that shows runs, as text."""

import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from viewplug.visualization.report import album, embedded, names_apart, render
from viewplug.visualization.report_charts import chart_groups
from viewplug.visualization.report_differences import differences
from viewplug.visualization.report_tables import summary
from viewplug.visualization.run import Run

HOOKS = [dict(type='viewplug.KNNHook', by_epoch=False), dict(type='viewplug.LocalizationHook', start=1)]


def run(name='a', **changes):
    curves = {
        'loss': [(10, 5.0), (20, 4.0)],
        'image.loss': [(10, 3.0), (20, 2.5)],
        'region.loss': [(10, 2.0), (20, 1.5)],
        'lr': [(10, 0.1), (20, 0.0)],
        'time': [(10, 0.5), (20, 0.25)],
        'health/image/std': [(10, 0.5)],
        'localization/box_area': [(1, 0.4)],
        'localization/iou_with_last': [],
        'knn/top1_k20': [(0, 20.0), (50, 35.0), (100, 30.0)],
        'region.valid_windows': [(10, 17.0)],
    }
    settings = dict(config=dict(custom_hooks=HOOKS), curves=curves, record=dict(images_per_step=64, seconds=3700))
    return Run(Path(f'runs/{name}'), name, **{**settings, **changes})


def plain(found):
    return {re.sub('<[^>]+>', '', key): values for key, values in found}


def test_differences_are_of_what_a_runner_reads_and_components_go_by_their_type():
    first = dict(
        model=dict(target=dict(momentum=0.9), neck=dict(type='MLPNeck')),
        custom_hooks=[dict(type='A', k=1), dict(type='B', k=1)],
        view_pipeline=[1],
        work_dir='x',
        views='sample',
    )
    second = dict(
        model=dict(target=dict(momentum=0.99), neck=dict(type='MLPNeck')),
        custom_hooks=[dict(type='B', k=2), dict(type='C', k=1, size=(2, 3)), dict(type='C', k=3)],
        view_pipeline=[2],
        work_dir='y',
    )
    assert plain(differences([first, second])) == {
        'model.target.momentum': ['0.9', '0.99'],
        'custom_hooks[A]': ['type=A, k=1', 'not set'],
        'custom_hooks[B].k': ['1', '2'],
        'custom_hooks[C]': ['not set', 'type=C, k=1, size=2, 3'],
        'custom_hooks[C 2]': ['not set', 'type=C, k=3'],
        'views': ['sample', 'not set'],
    }
    assert differences([first, dict(first)]) == [] and differences([{}, {}]) == []


def test_the_summary_has_first_best_and_last_knn_speed_and_time():
    rows = dict(summary([run(), run('b', curves={}, record={})]))
    assert rows['kNN top-1, first, best, last'] == ['20.0, 35.0, 30.0', '-']
    assert rows['images a second'] == ['256', '-'] and rows['training time'] == ['1:01:40', '-']
    assert rows['last loss'] == ['4', '-'] and 'linear top-1' not in rows


def test_every_scalar_that_was_logged_is_in_a_chart_under_its_heading():
    groups = dict(chart_groups([run()]))
    assert list(groups) == [
        'Training',
        'Health of the embeddings',
        'Boxes at each update',
        'Speed and memory',
        'Other scalars',
    ]
    loss, rate, nearest = groups['Training']
    assert all(f'{key} <b>' in loss for key in ('loss', 'image.loss', 'region.loss'))
    assert 'Learning rate' in rate and 'kNN' in nearest
    assert '>iteration</text>' in nearest  # by_epoch=False
    (boxes,) = groups['Boxes at each update']
    assert '>epoch</text>' in boxes and 'iou_with_last' not in boxes
    assert 'Images a second' in groups['Speed and memory'][0] and 'valid_windows' in groups['Other scalars'][0]


def test_several_runs_share_charts_a_colour_each_and_one_branch_is_the_loss():
    curves = {'loss': [(1, 2.0)], 'image.loss': [(1, 2.0)]}
    ((name, (chart,)),) = chart_groups([run('a', curves=curves, record={}), run('b', curves=curves, record={})])
    assert name == 'Training' and 'a <b>2</b>' in chart and 'b <b>2</b>' in chart
    assert chart.count('class="line c0"') == chart.count('class="line c1"') == 2  # line and legend


def test_a_page_needs_nothing_from_outside_and_holds_what_the_runs_have(tmp_path):
    (tmp_path / 'vis_boxes').mkdir()
    for epoch in range(9):
        Image.new('RGB', (60, 40), (epoch, 0, 200)).save(tmp_path / f'vis_boxes/epoch_{epoch}.png')
    files = sorted((tmp_path / 'vis_boxes').iterdir())
    first = run(pictures={'vis_boxes': files}, problems=[('<script>alert(1)</script>', 3)], config_text='a = "<&"')
    cell = dict(accuracy=12.0, low=10.0, high=14.0)
    parts = [dict(strength=0.5, embeddings=dict(both={'64': dict(top1=cell, top5=cell)}))]
    second = run('b', results={'linear_eval.json': dict(top1=61.25), 'contrastive_test/e.json': dict(results=parts)})
    page = render([first, second], most_pictures=3)
    assert not re.search(r'(?:src|href)="(?!data:|#)', page) and 'url(' not in page and '<script' not in page
    assert page.count('<img ') == 3 and 'epoch 0<' in page and 'epoch 4<' in page and 'epoch 8<' in page
    assert '6 more in the folder' in page and '(3 times)' in page and 'a = &#34;&lt;&amp;&#34;' in page
    assert '61.25' in page and '12.0 (10.0 to 14.0)' in page and 'What differs in the configs' in page
    assert 'What differs' not in render([first])


def test_runs_of_one_name_are_told_apart_by_their_folders():
    assert names_apart([Path('/x/a/run'), Path('/x/b/run')]) == ['a/run', 'b/run']
    assert names_apart([Path('/x/a'), Path('/x/b')]) == ['a', 'b']
    assert names_apart([Path('/x/a'), Path('/x/a')]) == ['a (1)', 'a (2)']


def test_pictures_are_embedded_in_the_smaller_form_and_broken_ones_left_out(tmp_path):
    rng = np.random.default_rng(0)
    Image.fromarray(rng.integers(0, 255, (90, 2000, 3), np.uint8)).save(tmp_path / 'noise_1.png')
    Image.new('RGB', (500, 500), (3, 4, 5)).save(tmp_path / 'flat.png')
    (tmp_path / 'broken.png').write_bytes((tmp_path / 'noise_1.png').read_bytes()[:5000])
    noise, flat = embedded(tmp_path / 'noise_1.png'), embedded(tmp_path / 'flat.png')
    assert noise['data'].startswith('data:image/webp') and (noise['width'], noise['height']) == (1600, 72)
    assert noise['caption'] == 'noise 1' and len(flat['data']) < 4000
    assert embedded(tmp_path / 'broken.png') is None
    found = album('vis_odd_ones', [tmp_path / 'broken.png', tmp_path / 'flat.png'], 6)
    assert (
        found['title'] == 'Odd ones'
        and len(found['pictures']) == 1
        and '1 more in the folder, or broken' in found['note']
    )


@pytest.mark.parametrize('most', [0, 1, 2])
def test_as_many_pictures_as_wanted_are_taken(most, tmp_path):
    for name in 'abc':
        Image.new('RGB', (4, 4)).save(tmp_path / f'{name}.png')
    found = album('vis_views', sorted(tmp_path.iterdir()), most)
    assert [picture['caption'] for picture in found['pictures']] == [[], ['a'], ['a', 'c']][most]


def test_the_error_that_ended_a_run_stands_at_its_head():
    page = render([run(record=dict(status='failed', error='weights < nan'), last=dict(epoch=1, step=20))])
    assert 'stopped by an error in epoch 1, iteration 20' in page and '<b>weights &lt; nan</b>' in page
    assert '<p><b>' not in render([run()])
