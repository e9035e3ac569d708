"""Curves, table and plot of benchmarks/growth.py's points."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np

UNITS = dict(seconds=('ms a step', 1e3), bytes=('peak memory, MiB', 2**-20))
LABELS = dict(
    batch='images a step',
    queue='keys in the queue',
    views='views',
    regions='images whose regions are compared',
    prototypes='prototypes',
    queries='queries an image',
)
IMAGES = ('batch', 'regions')
"""Axes that count images, so that a step has a time an image."""
SQUARE = [('regions', 'seconds')]
"""What grows with the square by construction."""
COLUMNS = 3
WHAT = {
    'step': ('whole step', 'tab:blue'),
    'head': ('head alone', 'tab:orange'),
    'RegionHead': ('RegionHead', 'tab:green'),
    'DINO head': ("DINO's head", 'tab:purple'),
    'QueryViT': ('QueryViT', 'tab:red'),
}
HOW = '{device}, threads {threads}, passes {passes} of {seconds} s a point, torch {torch}.'
NOTE = (
    'RegionHead compares all windows (36 an image) with the negatives of all images (144 each): its step grows with '
    'the square of the images by construction, its time an image with their number. It holds a block of '
    'similarities at a time (4 MiB, on a GPU 64), so that its memory does not grow with the square.'
)


def fit(rows: list[dict], axis: str, what: str, quantity: str) -> dict:
    """The curve through an axis' points, and how far the worst of them is from it, as a share of the curve's value.

    A line, or where the square is expected one more coefficient.
    """
    points = [row for row in rows if row['axis'] == axis and row['what'] == what]
    x, y = (np.array([row[key] for row in points], dtype=float) for key in ('value', quantity))
    degree = min(2 if (axis, quantity) in SQUARE else 1, len(x) - 1)
    coefficients = np.polyfit(x, y, degree, w=1 / np.maximum(y, 1e-12))
    deviations = y / np.polyval(coefficients, x) - 1
    worst = int(np.abs(deviations).argmax())
    square, slope, intercept = np.pad(coefficients, (2 - degree, 0))
    return dict(
        axis=axis,
        what=what,
        quantity=quantity,
        square=float(square),
        slope=float(slope),
        intercept=float(intercept),
        deviation=float(deviations[worst]),
        at=int(x[worst]),
    )


def fits_of(rows: list[dict]) -> list[dict]:
    curves = list(dict.fromkeys((row['axis'], row['what']) for row in rows))
    return [fit(rows, axis, what, quantity) for axis, what in curves for quantity in UNITS]


def table(rows: list[dict], fits: list[dict], settings: dict[str, dict]) -> str:
    lines = [
        '| axis | value | what | ms a step | ms an image | over bare work | peak memory, MiB |',
        '|---|---|---|---|---|---|---|',
    ]
    for row in rows:
        image = f'{row["seconds"] * 1e3 / row["value"]:.2f}' if row['axis'] in IMAGES else ''
        lines.append(
            f'| {row["axis"]} | {row["value"]} | {row["what"]} | {row["seconds"] * 1e3:.1f} | {image} | '
            f'{row["over_bare"]:.2f} | {row["bytes"] / 2**20:.0f} |'
        )
    lines += [
        '',
        '| axis | what | quantity | fixed | per unit | per unit² | largest deviation | at |',
        '|---|---|---|---|---|---|---|---|',
    ]
    for one in fits:
        name, scale = UNITS[one['quantity']]
        square = f'{one["square"] * scale:.3g}' if one['square'] else ''
        lines.append(
            f'| {one["axis"]} | {one["what"]} | {name} | {one["intercept"] * scale:.3g} | {one["slope"] * scale:.3g} | '
            f'{square} | {one["deviation"]:+.1%} | {one["at"]} |'
        )
    if any(row['axis'] == 'regions' for row in rows):
        lines += ['', NOTE]
    taken = {axis: HOW.format(**setting) for axis, setting in settings.items()}
    for how in dict.fromkeys(taken.values()):
        lines += ['', f'{", ".join(axis for axis in taken if taken[axis] == how)}: {how}']
    return '\n'.join(lines)


def plot(rows: list[dict], fits: list[dict], path: Path) -> None:
    """A column an axis, time above memory, three axes side by side; points and their curve."""
    import matplotlib

    matplotlib.use('Agg')
    from matplotlib import pyplot

    axes = list(dict.fromkeys(row['axis'] for row in rows))
    columns = min(COLUMNS, len(axes))
    lines = math.ceil(len(axes) / columns)
    figure, panels = pyplot.subplots(
        lines * len(UNITS), columns, figsize=(4 * columns, 6 * lines), constrained_layout=True, squeeze=False
    )
    for panel in panels.flat:
        panel.set_visible(False)
    for number, axis in enumerate(axes):
        for line, quantity in enumerate(UNITS):
            panel = panels[number // columns * len(UNITS) + line, number % columns]
            panel.set_visible(True)
            _draw(panel, rows, [one for one in fits if one['axis'] == axis and one['quantity'] == quantity])
    figure.savefig(path, dpi=120)
    pyplot.close(figure)


def _draw(panel, rows: list[dict], fits: list[dict]) -> None:
    """One quantity against one axis."""
    for one in fits:
        quantity, (name, scale) = one['quantity'], UNITS[one['quantity']]
        points = [row for row in rows if row['axis'] == one['axis'] and row['what'] == one['what']]
        x, y = (np.array([row[key] for row in points], dtype=float) for key in ('value', quantity))
        label, colour = WHAT[one['what']]
        panel.plot(x, y * scale, 'o', color=colour, label=label)
        along = np.linspace(0, x.max(), 100)
        curve = np.polyval([one['square'], one['slope'], one['intercept']], along) * scale
        panel.plot(along, curve, '-', color=colour, linewidth=1)
        if quantity == 'seconds':
            bare = [row['bare'] * scale for row in points]
            panel.plot(x, bare, 'x', color=colour, alpha=0.6, label=f'bare work of the {one["what"]}')
        if (one['axis'], quantity) in SQUARE:
            image = panel.twinx()
            image.plot(x, y * scale / x, 's', color='gray', markerfacecolor='none')
            image.plot(along[along >= x.min()], (curve / np.maximum(along, 1))[along >= x.min()], ':', color='gray')
            image.set_ylim(bottom=0)
            image.set_ylabel('ms an image')
            panel.plot([], [], 's:', color='gray', markerfacecolor='none', label='an image (right scale)')
        panel.plot([], [], ' ', label=f'worst {one["deviation"]:+.0%} at {one["at"]}')
        panel.set_xlabel(LABELS[one['axis']])
        panel.set_ylabel(name)
    panel.ticklabel_format(axis='x', scilimits=(0, 4))
    panel.set_xlim(left=0)
    panel.set_ylim(bottom=0)
    panel.legend(fontsize=8)
