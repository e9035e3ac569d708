"""All ratios as one picture."""

from __future__ import annotations

from pathlib import Path

from .hold import MEASURED
from .report import TITLES

FASTER, SLOWER = '#3b75af', '#d1603d'
TICKS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20)
LINE = 0.19
"""Inches."""


def plot(sections: dict, path: Path) -> None:
    """A bar a row from 1 to its ratio, on a logarithmic scale, grouped by contest; whiskers are the quartiles."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    bars, labels, height = _layout(sections)
    figure = Figure(figsize=(9.5, 1.2 + LINE * height), dpi=110, layout='constrained')
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    for place, text, size, weight in labels:
        where = dict(xycoords=axes.get_yaxis_transform(), textcoords='offset points', xytext=(-4, 0))
        axes.annotate(text, (0, place), ha='right', va='center', fontsize=size, weight=weight, **where)
    low, high = 0.8, 1.25
    for place, row in bars:
        if row['status'] == MEASURED:
            _bar(axes, place, row)
            low, high = min(low, row['quartiles'][0]), max(high, row['quartiles'][1])
        else:
            axes.text(1, place, f'{row["status"]}  ', ha='right', va='center', fontsize=7, color='0.4', style='italic')
    axes.axvline(1, color='black', linewidth=1)
    axes.set(xscale='log', xlim=(low / 1.5, high * 1.5), ylim=(height, -1), yticks=[])
    ticks = [tick for tick in TICKS if low / 1.5 <= tick <= high * 1.5]
    axes.set_xticks(ticks, [f'{tick:g}' for tick in ticks])
    axes.set_xticks([], minor=True)
    axes.tick_params(axis='x', top=True, labeltop=True)
    axes.grid(axis='x', color='0.9')
    axes.set_axisbelow(True)
    axes.spines[['left', 'right']].set_visible(False)
    axes.set_xlabel('time of viewplug / time of the peer\n(left of 1: viewplug is faster)')
    figure.savefig(path)


def _layout(sections: dict) -> tuple[list, list, float]:
    """Places, downwards, of bars (place, row) and of labels (place, text, size, weight), and the height."""
    bars, labels, place = [], [], 0.0
    for name, section in sections.items():
        labels.append((place, TITLES.get(name, name).split(':')[0], 10, 'bold'))
        place += 1.3
        for contest in section['contests']:
            alone = len(contest['rows']) == 1
            if not alone:
                labels.append((place, contest['work'], 8, 'bold'))
                place += 1
            for row in contest['rows']:
                label = f'{_short(row["ours"])} / {row["peer"]}'
                labels.append((place, f'{contest["work"]}: {label}' if alone else label, 7.5, 'normal'))
                bars.append((place, row))
                place += 1
            place += 0 if alone else 0.4
        place += 0.7
    return bars, labels, place


def _short(ours: str) -> str:
    return ours.removeprefix('viewplug, ').removeprefix('viewplug.')


def _bar(axes, place: float, row: dict) -> None:
    ratio, (low, high) = row['ratio'], row['quartiles']
    slower = ratio > 1
    axes.barh(place, ratio - 1, left=1, height=0.75, color=SLOWER if slower else FASTER)
    axes.plot([low, high], [place, place], color='black', linewidth=0.8)
    axes.annotate(
        f'{ratio:.2f}' if ratio >= 0.1 else f'{ratio:.2g}',
        (max(ratio, high) if slower else min(ratio, low), place),
        xytext=(3 if slower else -3, 0),
        textcoords='offset points',
        ha='left' if slower else 'right',
        va='center',
        fontsize=7,
    )
