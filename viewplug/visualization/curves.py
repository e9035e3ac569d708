"""Line charts as inline SVG, coloured by the page's style sheet: small, sharp, right in light and dark."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup, escape

WIDTH, HEIGHT = 400, 220
LEFT, RIGHT, TOP, BOTTOM = 52, 8, 8, 34
MOST_POINTS = 300
DASHES = ('', '6 3', '2 3', '8 3 2 3', '1 4', '12 4')

Point = tuple[float, float]


@dataclass
class Series:
    """Attributes:
    label: in the legend.
    points: (x, y), in the order of x, all finite, at least one.
    colour, dash: numbers; the style sheet has the colours, as classes ``c0``, ``c1``, ...
    """

    label: str
    points: Sequence[Point]
    colour: int = 0
    dash: int = 0


def draw_chart(title: str, series: Sequence[Series], x_label: str) -> Markup:
    """A figure: title, axes with round numbers, lines (dots where a series has few points), a legend with the last
    values. Long series are thinned so that no extreme is lost."""
    xs = [x for line in series for x, _ in line.points]
    ys = [y for line in series for _, y in line.points]
    x_ticks, y_ticks = ticks(min(xs), max(xs)), ticks(min(ys), max(ys))
    x_low, x_high = min(xs[:1] + [min(xs)]), max(xs)
    y_low, y_high = min(y_ticks[0], min(ys)), max(y_ticks[-1], max(ys))

    def place(x: float, y: float) -> tuple[float, float]:
        across = (x - x_low) / ((x_high - x_low) or 1)
        up = (y - y_low) / ((y_high - y_low) or 1)
        return LEFT + across * (WIDTH - LEFT - RIGHT), HEIGHT - BOTTOM - up * (HEIGHT - TOP - BOTTOM)

    parts = []
    for y in y_ticks:
        _, row = place(x_low, y)
        parts.append(f'<path class="grid" d="M{LEFT} {row:.1f}H{WIDTH - RIGHT}"/>')
        parts.append(f'<text class="y" x="{LEFT - 5}" y="{row + 3.5:.1f}">{number(y)}</text>')
    for x in x_ticks:
        if x_low <= x <= x_high:
            column, _ = place(x, y_low)
            parts.append(f'<text class="x" x="{column:.1f}" y="{HEIGHT - BOTTOM + 14}">{number(x)}</text>')
    parts.append(f'<text class="x" x="{(LEFT + WIDTH - RIGHT) / 2}" y="{HEIGHT - 5}">{escape(x_label)}</text>')
    for line in series:
        placed = [place(*point) for point in thinned(line.points, MOST_POINTS)]
        path = 'L'.join(f'{x:.1f} {y:.1f}' for x, y in placed)
        dash = f' stroke-dasharray="{DASHES[line.dash % len(DASHES)]}"' if line.dash % len(DASHES) else ''
        parts.append(f'<path class="line c{line.colour % 8}" d="M{path}"{dash}/>')
        if len(placed) <= 20:
            dots = ''.join(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="2.5"/>' for x, y in placed)
            parts.append(f'<g class="dots c{line.colour % 8}">{dots}</g>')
    swatch = '<svg class="key" viewBox="0 0 24 8"><path class="line c{}" d="M0 4H24" stroke-dasharray="{}"/></svg>'
    legend = ''.join(
        f'<li>{swatch.format(line.colour % 8, DASHES[line.dash % len(DASHES)])}{escape(line.label)} '
        f'<b>{number(line.points[-1][1])}</b></li>'
        for line in series
    )
    return Markup(
        f'<figure class="chart"><figcaption>{escape(title)}</figcaption>'
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(title)}">{"".join(parts)}</svg>'
        f'<ul class="legend">{legend}</ul></figure>'
    )


def ticks(low: float, high: float, most: int = 5) -> list[float]:
    """Round numbers that span [low, high], about ``most`` of them."""
    if high <= low:
        spread = abs(low) * 0.1 or 1.0
        low, high = low - spread, high + spread
    rough = (high - low) / most
    power = 10 ** math.floor(math.log10(rough))
    step = next(power * factor for factor in (1, 2, 2.5, 5, 10) if power * factor >= rough * 0.999)
    first = math.floor(low / step + 1e-9)
    last = math.ceil(high / step - 1e-9)
    return [count * step for count in range(first, last + 1)]


def thinned(points: Sequence[Point], most: int) -> list[Point]:
    """At most about ``most`` points: of each stretch the lowest and the highest, and the two ends."""
    if len(points) <= most:
        return list(points)
    size = math.ceil(2 * len(points) / most)
    kept = {0, len(points) - 1}
    for start in range(0, len(points), size):
        stretch = range(start, min(start + size, len(points)))
        kept |= {min(stretch, key=lambda i: points[i][1]), max(stretch, key=lambda i: points[i][1])}
    return [points[index] for index in sorted(kept)]


def number(value: float) -> str:
    """As short as four digits allow: 1234567 is 1.235M, 0.00012 is 0.00012, 4.30333 is 4.303."""
    for unit, size in (('G', 1e9), ('M', 1e6), ('k', 1e4)):
        if abs(value) >= size:
            return f'{value / (1e3 if unit == "k" else size):.4g}{unit}'
    if value and abs(value) < 1e-4:
        return f'{value:.2e}'
    return f'{value:.4g}' if abs(value) < 1e4 else f'{value:.0f}'
