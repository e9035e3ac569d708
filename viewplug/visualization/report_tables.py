"""The numbers of a report: what one wants to know first, and what evaluations found."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from pathlib import Path

from viewplug.visualization.curves import number
from viewplug.visualization.run import Run


def summary(runs: Sequence[Run]) -> list[tuple[str, list[str]]]:
    """What one wants to know first; rows that no run can fill are left out."""
    rows = {
        'state': [run.status for run in runs],
        'training time': [_duration(run.record.get('seconds')) for run in runs],
        'last loss': [_last(run, 'loss') for run in runs],
        'kNN top-1, first, best, last': [_knn(run) for run in runs],
        'linear top-1': [_shown(run.results.get('linear_eval.json', {}).get('top1')) for run in runs],
        'images a second': [_throughput(run) for run in runs],
        'peak memory of the GPU, MB': [_last(run, 'memory') for run in runs],
        'peak memory of the process, MB': [_last(run, 'run/peak_memory') for run in runs],
        'warnings': [str(sum(count for _, count in run.problems)) for run in runs],
    }
    return [(name, values) for name, values in rows.items() if any(value != '-' for value in values)]


def _last(run: Run, key: str) -> str:
    curve = run.curves.get(key)
    return number(curve[-1][1]) if curve else '-'


def _shown(value: float | None) -> str:
    return '-' if value is None else number(value)


def _duration(seconds: float | None) -> str:
    return '-' if seconds is None else str(datetime.timedelta(seconds=round(seconds)))


def _knn(run: Run) -> str:
    found = [curve for key, curve in run.curves.items() if key.startswith('knn/') and curve]
    values = [value for _, value in found[0]] if found else []
    return ', '.join(f'{value:.1f}' for value in (values[0], max(values), values[-1])) if values else '-'


def _throughput(run: Run) -> str:
    """The median over the run."""
    speeds = sorted(value for _, value in run.speeds)
    return number(speeds[len(speeds) // 2]) if speeds else '-'


def tables(run: Run) -> list[dict]:
    """What evaluations wrote into the work dir."""
    found = []
    for name, result in run.results.items():
        if name == 'linear_eval.json':
            rows = [(key, number(value)) for key, value in result.items() if isinstance(value, int | float)]
            found.append(dict(title='Linear evaluation', head=('', ''), rows=rows))
        elif 'ways' in result:
            rows = [(kind, number(way['score']), number(way['distance'])) for kind, way in result['ways'].items()]
            head = ('crops', 'class score', 'distance of two views')
            found.append(dict(title=f'Class score of crops, {Path(name).stem}', head=head, rows=rows))
        elif 'results' in result:
            rows = [
                (str(part['strength']), embedding, dim, *(_interval(cell[top]) for top in ('top1', 'top5')))
                for part in result['results']
                for embedding, cells in part['embeddings'].items()
                for dim, cell in cells.items()
            ]
            head = ('strength', 'embedding', 'length', 'top-1, %', 'top-5, %')
            found.append(dict(title=f'Contrastive test, {Path(name).stem}', head=head, rows=rows))
    return found


def _interval(cell: dict) -> str:
    return f'{cell["accuracy"]:.1f} ({cell["low"]:.1f} to {cell["high"]:.1f})'
