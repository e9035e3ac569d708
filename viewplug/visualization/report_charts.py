"""The curves of a report, under headings."""

from __future__ import annotations

from collections.abc import Sequence

from markupsafe import Markup

from viewplug.visualization.curves import Series, draw_chart
from viewplug.visualization.run import Run

HEALTH = dict(
    std='Spread of embeddings (1: even, 0: collapsed)',
    effective_rank='Effective rank',
    similarity='Similarity of positives',
    alignment='Alignment (lower: closer)',
    uniformity='Uniformity (lower: more even)',
    target_entropy='Entropy of the target over prototypes, nats',
    kl='KL of target and online distributions, nats (0: collapsed)',
    center_norm='Length of the centre',
)


def chart_groups(runs: Sequence[Run]) -> list[tuple[str, list[Markup]]]:
    """Charts under headings. One run: a colour for each scalar; several: a colour a run, dashes for the scalars."""
    keys = list(dict.fromkeys(key for run in runs for key, curve in run.curves.items() if curve))
    branches = [key for key in keys if key.endswith('loss') and key != 'loss']
    losses = branches if len(branches) == 1 else [key for key in ['loss', *branches] if key in keys]
    rates = [key for key in keys if key.split('/')[-1] == 'lr' or key.startswith('lr_')]
    momenta = [key for key in keys if key in ('momentum', 'run/target_momentum')]
    nearest = [key for key in keys if key.startswith(('knn/', 'knn_target/'))]
    shares = [f'localization/{name}' for name in ('box_area', 'iou_with_last', 'whole', 'dead', 'unreadable')]
    health = [(title, [key for key in keys if _is_health(key, name)]) for name, title in HEALTH.items()]
    groups = [
        (
            'Training',
            [
                ('Loss', losses),
                ('Learning rate', rates),
                ("Target's momentum", momenta),
                ('kNN top-1, %', nearest),
            ],
        ),
        ('Health of the embeddings', health),
        ('Boxes at each update', [('Share of the image, IoU with the last', [key for key in shares if key in keys])]),
        (
            'Speed and memory',
            [
                ('Seconds a step, and of it waiting for data', [key for key in ('time', 'data_time') if key in keys]),
                ('Memory, MB', [key for key in ('memory', 'run/peak_memory') if key in keys]),
            ],
        ),
    ]
    known = {key for _, charts in groups for _, members in charts for key in members} | {'loss', 'eta'}
    rest = [key for key in keys if key not in known and not key.startswith('localization/')]
    groups.append(('Other scalars', [(key, [key]) for key in rest]))
    drawn = []
    for name, charts in groups:
        found = [chart for title, members in charts if (chart := _chart(title, members, runs)) is not None]
        if name == 'Speed and memory':
            speed = [Series(run.name, run.speeds, colour) for colour, run in enumerate(runs) if run.speeds]
            found = ([draw_chart('Images a second', speed, 'iteration')] if speed else []) + found
        if found:
            drawn.append((name, found))
    return drawn


def _is_health(key: str, name: str) -> bool:
    return key.startswith('health/') and key.endswith(f'/{name}')


def _chart(title: str, keys: Sequence[str], runs: Sequence[Run]) -> Markup | None:
    series = []
    for run_number, run in enumerate(runs):
        for key_number, key in enumerate(keys):
            if not run.curves.get(key):
                continue
            short = _short(key)
            if len(runs) == 1:
                series.append(Series(short, run.curves[key], key_number))
            else:
                label = f'{run.name}: {short}' if len(keys) > 1 else run.name
                series.append(Series(label, run.curves[key], run_number, key_number))
    return draw_chart(title, series, _unit(keys[0], runs)) if series else None


def _short(key: str) -> str:
    parts = key.split('/')
    return parts[1] if parts[0] == 'health' else parts[-1]


def _unit(key: str, runs: Sequence[Run]) -> str:
    """What the steps of a scalar count: those of kNN and boxes are the hook's, all others iterations."""
    hook = dict(knn='KNNHook', knn_target='KNNHook', localization='LocalizationHook').get(key.split('/')[0])
    if hook is None:
        return 'iteration'
    hooks = [found for run in runs for found in run.config.get('custom_hooks') or [] if hook in str(found.get('type'))]
    return 'epoch' if all(found.get('by_epoch', True) for found in hooks) else 'iteration'
