"""What tools/contrastive_test.py (HCL, fig. 2 and 4) and tools/crop_semantics.py (ContrastiveCrop, fig. 4) found."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import zip_longest
from pathlib import Path

import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure

Report = dict
"""label, and results: a list of dict(strength, images, gallery, embeddings=name -> dim -> cell); see
:meth:`viewplug.evaluation.contrastive_test.ContrastiveTest.result`."""

STYLE = dict(capsize=2, linewidth=1.5, elinewidth=1, marker='o', markersize=4)


def plot_iou(reports: Sequence[Report], pairs: Sequence[tuple] = ()) -> Figure | None:
    """Top-1 accuracy against the IoU of the two crops, at each embedding's largest dim, bins without a pair left out;
    beside it pairs of views with their IoU and whether they were found. None without a known IoU.

    Args:
        reports: the first strength of each is drawn.
        pairs: (pixels (3, H, W) in [0, 1], the same of the other view, IoU, rank from 0).
    """
    curves = []
    for label, cells in _embeddings(reports):
        dim, cell = list(cells.items())[-1]
        if 'by_iou' in cell:
            rows = [row for row in cell['by_iou'] if row['n']]
            curves.append((f'{label}, {dim}', [sum(row['iou']) / 2 for row in rows], [row['top1'] for row in rows]))
    if not curves:
        return None
    figure = Figure((9 if pairs else 5.5, 4), dpi=120, layout='constrained')
    left, right = figure.subfigures(1, 2, width_ratios=(5, 3)) if pairs else (figure, None)
    axes = left.subplots()
    for curve in curves:
        _points(axes, *curve)
    axes.set(xlim=(0, 1), xlabel='IoU of the two crops')
    _finish(axes, reports)
    if pairs:
        cells = right.subplots(math.ceil(len(pairs) / 2), 2, squeeze=False).flatten()
        for axes, pair in zip_longest(cells, pairs):
            axes.set_axis_off()
            if pair is not None:
                _draw_pair(axes, *pair)
    return figure


def plot_lengths(reports: Sequence[Report]) -> Figure | None:
    """Top-1 accuracy against the length of the embedding, a group of bars for each. None for a single length."""
    series = list(_embeddings(reports))
    dims = list(dict.fromkeys(str(dim) for _, cells in series for dim in cells))
    if len(dims) < 2:
        return None
    figure = Figure((max(5.5, 0.35 * len(dims) * len(series) + 2), 4), dpi=120, layout='constrained')
    axes = figure.subplots()
    width = 0.8 / len(series)
    for number, (label, cells) in enumerate(series):
        cells = {str(dim): cell['top1'] for dim, cell in cells.items()}
        places = [dims.index(dim) + (number + 0.5) * width - 0.4 for dim in cells]
        heights = [cell['accuracy'] for cell in cells.values()]
        axes.bar(places, heights, width, yerr=_whiskers(cells.values()), capsize=2, label=label)
    axes.set_xticks(range(len(dims)), dims)
    axes.set_xlabel('numbers in the embedding')
    _finish(axes, reports)
    return figure


def plot_strengths(reports: Sequence[Report]) -> Figure | None:
    """Top-1 accuracy against the strength of the augmentation, at each embedding's largest dim. None for one."""
    if max(len(report['results']) for report in reports) < 2:
        return None
    figure = Figure((5.5, 4), dpi=120, layout='constrained')
    axes = figure.subplots()
    for report in reports:
        results = sorted(report['results'], key=lambda result: result['strength'])
        for name, cells in results[0]['embeddings'].items():
            dim = list(cells)[-1]
            points = [result['embeddings'][name][dim]['top1'] for result in results]
            label = f'{report["label"]}: {name}, {dim}' if len(reports) > 1 else f'{name}, {dim}'
            _points(axes, label, [result['strength'] for result in results], points)
    axes.set_xlabel('strength of the augmentation (0: crop and resize, 1: as in training)')
    _finish(axes, reports)
    return figure


def _embeddings(reports: Sequence[Report]) -> Iterator[tuple[str, dict]]:
    for report in reports:
        for name, cells in report['results'][0]['embeddings'].items():
            yield (f'{report["label"]}: {name}' if len(reports) > 1 else name), cells


def _points(axes: Axes, label: str, places: list[float], cells: list[dict]) -> None:
    axes.errorbar(places, [cell['accuracy'] for cell in cells], _whiskers(cells), label=label, **STYLE)


def _whiskers(cells) -> list[list[float]]:
    pairs = [(cell['accuracy'] - cell['low'], cell['high'] - cell['accuracy']) for cell in cells]
    return [[max(0, side) for side in sides] for sides in zip(*pairs, strict=True)]


def _finish(axes: Axes, reports: Sequence[Report]) -> None:
    first = reports[0]['results'][0]
    axes.set_ylabel('top-1 retrieval, %')
    axes.set_ylim(bottom=0)
    axes.set_title(f'{first["images"]:,} images, gallery of {first["gallery"]:,}, 95 % intervals', fontsize=9)
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8)


def _draw_pair(axes: Axes, first, second, iou: float, rank: int) -> None:
    """Side by side."""
    gap = first.new_ones(3, first.shape[1], max(1, first.shape[2] // 16))
    axes.imshow(torch.cat([first, gap, second], dim=2).permute(1, 2, 0).numpy())
    found = 'found' if rank == 0 else f'rank {rank + 1}'
    axes.set_title(f'IoU {iou:.2f}, {found}', fontsize=8)


def plot_semantics(report: dict) -> Figure:
    """Class score against the distance of two views, a line for each way of cropping, standard errors as whiskers.

    Args:
        report: of tools/crop_semantics.py, with ``by_distance`` of
            :func:`viewplug.evaluation.crop_semantics.score_by_distance`.
    """
    figure = Figure((5.5, 4), dpi=120, layout='constrained')
    axes = figure.subplots()
    for name, rows in report['by_distance'].items():
        places = [sum(row['distance']) / 2 for row in rows]
        scores, errors = ([row[key] for row in rows] for key in ('score', 'error'))
        axes.errorbar(places, scores, errors, label=name, **STYLE)
    axes.set(xlabel='distance between the features of two views', ylabel='class score of a crop')
    axes.set_title(f'{report["images"]:,} images, scorer {Path(report["scorer"][0]).stem}', fontsize=9)
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8)
    return figure
