"""Charts: round ticks, honest thinning, points where they belong."""

import re

import numpy as np
import pytest

from viewplug.visualization.curves import (
    BOTTOM,
    HEIGHT,
    LEFT,
    RIGHT,
    TOP,
    WIDTH,
    Series,
    draw_chart,
    number,
    thinned,
    ticks,
)


@pytest.mark.parametrize(
    'low, high, expected',
    [
        (0, 1, [0, 0.2, 0.4, 0.6, 0.8, 1]),
        (4.3, 4.77, [4.3, 4.4, 4.5, 4.6, 4.7, 4.8]),
        (-3, 7, [-4, -2, 0, 2, 4, 6, 8]),
        (50, 248, [50, 100, 150, 200, 250]),
    ],
)
def test_ticks_are_round_and_span_the_values(low, high, expected):
    assert ticks(low, high) == pytest.approx(expected)


@pytest.mark.parametrize('value', [0.0, 3.5, -2e-5, 1e9])
def test_one_value_has_ticks_on_both_sides(value):
    found = ticks(value, value)
    assert found[0] < value < found[-1] and len(found) < 12


def test_numbers_are_short():
    values = (0, 4.30333, 1234567, 0.00002, 0.98, 65536, 9999, -0.5, 2.5e9)
    assert [number(value) for value in values] == [
        '0',
        '4.303',
        '1.235M',
        '2.00e-05',
        '0.98',
        '65.54k',
        '9999',
        '-0.5',
        '2.5G',
    ]


def test_thinning_keeps_ends_and_extremes_in_order():
    points = [(float(x), float(y)) for x, y in enumerate(np.random.default_rng(0).normal(size=5000))]
    points[1234] = (1234.0, 99.0)
    points[4321] = (4321.0, -99.0)
    kept = thinned(points, 300)
    assert len(kept) <= 302 and kept[0] == points[0] and kept[-1] == points[-1]
    assert points[1234] in kept and points[4321] in kept and kept == sorted(kept)
    assert thinned(points[:20], 300) == points[:20]


def test_the_ends_of_a_line_lie_in_the_corners_of_the_plot():
    chart = draw_chart('Loss', [Series('a', [(0, 0), (10, 1)])], 'iteration')
    first, last = (
        tuple(map(float, point.split())) for point in re.search(r'line c0" d="M([^"]+)"', chart)[1].split('L')
    )
    assert first == (LEFT, HEIGHT - BOTTOM) and last == (WIDTH - RIGHT, TOP)
    assert 'iteration' in chart and '<figcaption>Loss</figcaption>' in chart and '<b>1</b>' in chart


def test_series_have_their_colours_and_dashes_and_labels_cannot_break_the_page():
    lines = [Series('<b>&', [(0, 1), (1, 2)], colour=9), Series('b', [(0, 3)], colour=1, dash=1)]
    chart = draw_chart('<script>', lines, 'epoch')
    assert 'class="line c1"' in chart and 'stroke-dasharray="6 3"' in chart and chart.count('<circle') == 3
    assert '&lt;script&gt;' in chart and '&lt;b&gt;&amp;' in chart and '<script' not in chart
