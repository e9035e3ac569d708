"""The report in a real browser: wide and narrow, light and dark, of runs that finished and of one that crashed."""

import importlib.util
import json
import math
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

ROOT = Path(__file__).resolve().parents[2]
BROWSERS = ('chromium', 'chromium-browser', 'google-chrome', 'google-chrome-stable')
FLAGS = [
    '--no-sandbox',  # as root
    '--disable-gpu',
    '--disable-quic',
    '--no-first-run',
    '--disable-background-networking',
    '--disable-component-update',
    '--disable-sync',
]
OVERFLOWING = """() => {
  const inScroller = element => element.closest('.scroll, pre');
  const wide = document.documentElement.scrollWidth > window.innerWidth ? ['the page itself'] : [];
  for (const element of document.body.querySelectorAll('*')) {
    const box = element.getBoundingClientRect();
    if (box.width && !inScroller(element) && (box.right > window.innerWidth + 0.5 || box.left < -0.5))
      wide.push(element.outerHTML.slice(0, 120));
  }
  for (const text of document.querySelectorAll('.chart > svg text')) {
    const box = text.getBoundingClientRect(), chart = text.closest('svg').getBoundingClientRect();
    if (box.left < chart.left - 1 || box.right > chart.right + 1) wide.push('label ' + text.textContent);
  }
  return wide;
}"""
COLOURS = """() => {
  const rgb = text => text.match(/[0-9.]+/g).slice(0, 3).map(Number);
  const ground = rgb(getComputedStyle(document.body).backgroundColor);
  const ink = ['body', '.soft', 'figcaption', '.warnings li', 'nav a'].map(
    name => document.querySelector(name)).filter(Boolean).map(element => rgb(getComputedStyle(element).color));
  const lines = [...document.querySelectorAll('.chart > svg .line')].map(line => rgb(getComputedStyle(line).stroke));
  return {ground, ink, lines};
}"""


def write_run(work_dir, steps=2000, crashed=False, seed=0):
    """A work dir as mmengine and the hooks leave it: long curves, wide pictures, long words."""
    rng = np.random.default_rng(seed)
    folder = work_dir / '20260101_000000' / 'vis_data'
    folder.mkdir(parents=True)
    lines = []
    for step in range(10, steps, 10):
        loss = 8 / math.sqrt(step) + rng.normal(0, 0.05)
        common = dict(epoch=1 + step // 500, iter=step, step=step)
        parts = {'loss': loss, 'image.loss': loss / 2, 'region.loss': loss / 2}
        lines.append(dict(lr=0.03 * (1 - step / steps), time=0.2, data_time=0.001, memory=20000, **parts, **common))
        if step % 50 == 0:
            names = ('std', 'effective_rank', 'similarity', 'alignment', 'uniformity')
            health = {f'health/{branch}/{name}': rng.random() for branch in ('image', 'region') for name in names}
            lines.append({**health, 'step': step})
            lines.append({'run/target_momentum': 0.999, 'run/peak_memory': 123456.7, 'step': step})
    for epoch in range(0, steps // 500):
        lines.append({'knn/top1_k20': 20.0 + epoch, 'step': epoch})
        lines.append({'localization/box_area': 0.3, 'localization/iou_with_last': 0.8, 'step': epoch})
    text = ''.join(json.dumps(line) + '\n' for line in lines)
    (folder / 'scalars.json').write_text(text + '{"lr": 0.0' * crashed)
    config = f"train_cfg = dict(max_epochs=4)\nmodel = dict(type='viewplug.Siamese', temperature=0.{seed + 1})\n"
    (folder / 'config.py').write_text(config + f'long = {"x" * 300!r}\n' + 'broken = dict(' * crashed)
    long = 'https://example.org/' + 'a_very_long_word_' * 20
    log = f'System environment:\n    Python: 3.11\n    Flags: {long}\n'
    (folder.parent / '20260101_000000.log').write_text(f'{log}2026/01/01 00:00:00 - mmengine - WARNING - see {long}\n')
    for kind, size in (('vis_views', (140, 300)), ('vis_crops', (300, 500)), ('vis_boxes', (1800, 300))):
        (work_dir / kind).mkdir()
        pixels = rng.integers(0, 255, (size[1] // 20, size[0] // 20, 3), np.uint8)
        Image.fromarray(pixels).resize(size, Image.Resampling.NEAREST).save(work_dir / kind / 'epoch_0.png')
    if crashed:
        (work_dir / 'vis_boxes/epoch_9.png').write_bytes(b'\x89PNG\r\n')
    else:
        (work_dir / 'run.json').write_text(json.dumps(dict(status='finished', seconds=99, images_per_step=256)))
    return work_dir


@pytest.fixture(scope='module')
def pages(tmp_path_factory):
    """The tool's reports: name -> file."""
    spec = importlib.util.spec_from_file_location('report_tool', ROOT / 'tools/report.py')
    tool = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tool)
    folder = tmp_path_factory.mktemp('runs')
    first = write_run(folder / 'moco_with_a_long_name_r50')
    second = write_run(folder / 'hcl_with_another_long_name_r50', seed=1)
    crashed = write_run(folder / 'crashed', steps=700, crashed=True)
    for work_dirs, name in (([first, second], 'two'), ([crashed], 'crashed')):
        assert tool.main([*map(str, work_dirs), '--out', str(folder / f'{name}.html')]) == 0
    return {name: folder / f'{name}.html' for name in ('two', 'crashed')}


@pytest.fixture(scope='module')
def browser():
    path = next(filter(None, map(shutil.which, BROWSERS)), None)
    if path is None:
        how = 'no Chromium on this machine; on Debian and Ubuntu: apt-get install chromium'
        if os.environ.get('CI'):
            pytest.fail(how)
        pytest.skip(how)
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def open_page(browser):
    """A page that fails the test on a console error, an exception, or a request to anywhere else."""
    opened, complaints = [], []

    def open_page(path, width=1280, scheme='light'):
        page = browser.new_page(viewport=dict(width=width, height=900), color_scheme=scheme)
        page.on('console', lambda message: complaints.append(message.text))
        page.on('pageerror', lambda error: complaints.append(str(error)))
        page.on('request', lambda request: complaints.append(request.url))
        page.goto(path.as_uri())
        opened.append(page)
        return page

    yield open_page
    urls = [page.url.split('#')[0] for page in opened]
    for page in opened:
        page.close()
    assert [text for text in complaints if not text.startswith('data:') and text not in urls] == []


@pytest.mark.parametrize('name', ['two', 'crashed'])
@pytest.mark.parametrize('width', [1280, 400])
def test_nothing_overflows_and_every_picture_is_there(width, name, pages, open_page):
    page = open_page(pages[name], width)
    page.evaluate("document.querySelectorAll('details').forEach(part => part.open = true)")
    assert page.evaluate(OVERFLOWING) == []
    pictures = page.evaluate('[...document.images].map(image => [image.complete, image.naturalWidth > 0])')
    assert pictures == [[True, True]] * (6 if name == 'two' else 3)
    columns = page.evaluate("getComputedStyle(document.querySelector('.charts')).gridTemplateColumns.split(' ').length")
    assert columns == (3 if width == 1280 else 1)


def test_two_runs_have_their_differences_charts_pictures_and_warnings(pages, open_page):
    page = open_page(pages['two'])
    differences = page.locator('#differences tbody tr')
    assert differences.count() == 1 and 'model.temperature' in differences.inner_text()
    assert page.locator('.run').count() == 2 and page.locator('.warnings li').count() == 2
    titles = page.locator('.chart figcaption').all_inner_texts()
    for title in ('Loss', 'Learning rate', 'kNN top-1, %', 'Effective rank', 'Images a second', 'Memory, MB'):
        assert title in titles
    assert page.locator('#summary tbody').inner_text().count('finished') == 2
    line = page.locator('.chart > svg .line').first.bounding_box()
    assert line['width'] > 200 and line['height'] > 20
    page.click('nav a >> nth=1')
    assert page.evaluate("document.getElementById('run-2').getBoundingClientRect().top") < 900


def test_a_crashed_run_says_so_and_shows_what_it_has(pages, open_page):
    page = open_page(pages['crashed'])
    assert 'not finished' in page.locator('#summary').inner_text()
    warnings = page.locator('.warnings').inner_text()
    assert 'scalars.json are cut off' in warnings and 'config.py cannot be read' in warnings
    assert page.locator('.chart').count() > 10 and page.locator('#differences').count() == 0
    assert 'max_epochs=4' in page.locator('.config pre').text_content()


def test_text_and_lines_stand_out_in_light_and_in_dark(pages, open_page):
    grounds = []
    for scheme in ('light', 'dark'):
        colours = open_page(pages['two'], scheme=scheme).evaluate(COLOURS)
        grounds.append(luminance(colours['ground']))
        assert len(colours['ink']) == 5
        assert min(contrast(ink, colours['ground']) for ink in colours['ink']) > 4.5
        assert min(contrast(line, colours['ground']) for line in colours['lines']) > 3
    assert grounds[0] > 0.9 and grounds[1] < 0.05


def luminance(rgb):
    """WCAG 2.1."""
    linear = [c / 12.92 if c <= 0.03928 else ((c + 0.055) / 1.055) ** 2.4 for c in (value / 255 for value in rgb)]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(first, second):
    dark, bright = sorted((luminance(first), luminance(second)))
    return (bright + 0.05) / (dark + 0.05)
