"""One HTML file that shows runs: no network, no script, everything inside."""

from __future__ import annotations

import base64
import datetime
import inspect
import io
from collections.abc import Iterable, Sequence
from pathlib import Path

from jinja2 import Environment
from markupsafe import Markup, escape
from mmengine.runner import Runner
from PIL import Image

import viewplug
from viewplug.visualization.curves import Series, draw_chart, number
from viewplug.visualization.run_files import Run

ALBUMS = dict(
    vis_views=('Views', 'Rows are images, columns their views as the network sees them.'),
    vis_crops=(
        'Views and where they were cut',
        'The whole image with the boxes of its crops; the views, framed alike.',
    ),
    vis_regions=('Matched regions', 'Windows of the same colour show the same region.'),
    vis_boxes=('Heat maps and boxes at each update', 'Image with box (dashed) and crops, heat map, the crops.'),
    vis_attention=('Attention maps', 'Of the class token, or of the queries.'),
    vis_neighbours=('Nearest neighbours', 'Left the query, then the nearest images, with their cosines.'),
    crop_semantics_test=('Class score of crops', 'Against the distance of two views (ContrastiveCrop, fig. 4).'),
    contrastive_test=('Contrastive test', 'Retrieval of the other view (HCL, fig. 2 and 4).'),
)
HEALTH = dict(
    std='Spread of embeddings (1: even, 0: collapsed)',
    effective_rank='Effective rank',
    similarity='Similarity of positives',
    alignment='Alignment (lower: closer)',
    uniformity='Uniformity (lower: more even)',
)
READ = {*inspect.signature(Runner).parameters, 'views', 'in_memory', 'speed', 'stage1_config', 'auto_scale_lr'}
READ -= {'work_dir', 'resume', 'experiment_name', 'cfg'}
"""Keys of a config that make a run what it is; others are names that it uses on the way."""
ABSENT = 'not set'
WIDEST = 1600
"""Pixels; wider pictures are scaled down."""


def render(runs: Sequence[Run], most_pictures: int = 6, title: str | None = None) -> str:
    """The report of one run or of several side by side.

    Args:
        most_pictures: of each folder of a run; of more the first, the last and some between are shown.
    """
    for run, name in zip(runs, names_apart([run.path for run in runs]), strict=True):
        run.name = name
    page = Path(__file__).with_name('report.html').read_text(encoding='utf-8')
    return (
        Environment(autoescape=True, trim_blocks=True)
        .from_string(page)
        .render(
            title=title or (runs[0].name if len(runs) == 1 else f'{len(runs)} runs side by side'),
            written=datetime.datetime.now().strftime('%Y-%m-%d %H:%M'),
            version=viewplug.__version__,
            differences=differences([run.config for run in runs]),
            summary=summary(runs),
            curves=chart_groups(runs),
            runs=[
                dict(
                    name=run.name,
                    path=str(run.path),
                    status=run.status,
                    tables=tables(run),
                    albums=[
                        album(name, run.pictures[name], most_pictures)
                        for name in dict.fromkeys([*ALBUMS, *run.pictures])
                        if name in run.pictures
                    ],
                    problems=run.problems,
                    environment=run.environment,
                    config_text=run.config_text,
                )
                for run in runs
            ],
        )
    )


def names_apart(paths: Sequence[Path]) -> list[str]:
    """As many of the last parts of each path as it takes to tell them apart."""
    parts = [path.resolve().parts for path in paths]
    for length in range(1, max(map(len, parts)) + 1):
        names = ['/'.join(part[-length:]) for part in parts]
        if len(set(names)) == len(names):
            return names
    return [f'{path.resolve().name} ({place + 1})' for place, path in enumerate(paths)]


def differences(configs: Sequence[dict]) -> list[tuple[Markup, list[str]]]:
    """Keys that a Runner (or this project) reads and whose values are not the same everywhere, and the values.

    Components in lists go by their type; one that a config lacks altogether is one row.
    """
    flat = [dict(_flat('', {key: config[key] for key in sorted(READ & set(config))})) for config in configs]
    keys = dict.fromkeys(key for config in flat for key in config)
    rows: dict[str, list[str]] = {}
    for key in sorted(keys):
        values = [config.get(key, ABSENT) for config in flat]
        if len(set(values)) == 1:
            continue
        component = next((part for part in _components(key) if any(_lacks(config, part) for config in flat)), None)
        if component is None:
            rows[key] = values
            continue
        there = [{key: value for key, value in config.items() if key.startswith(component)} for config in flat]
        rows[component] = [
            ', '.join(f'{key[len(component) :].lstrip(".")}={value}' for key, value in found.items()) or ABSENT
            for found in there
        ]
    return [(Markup(str(escape(key)).replace('.', '.<wbr>').replace('[', '<wbr>[')), row) for key, row in rows.items()]


def _components(key: str) -> list[str]:
    """``a[X].b[Y].c`` -> ``a[X]``, ``a[X].b[Y]``."""
    return [key[: place + 1] for place, letter in enumerate(key) if letter == ']']


def _lacks(config: dict[str, str], component: str) -> bool:
    return not any(key.startswith(component) for key in config)


def _flat(key: str, value) -> Iterable[tuple[str, str]]:
    if isinstance(value, dict) and value:
        for name, child in value.items():
            yield from _flat(f'{key}.{name}' if key else str(name), child)
    elif isinstance(value, list | tuple) and value and all(isinstance(child, dict) for child in value):
        seen: dict[str, int] = {}
        for place, child in enumerate(value):
            kind = str(child.get('type', place))
            seen[kind] = seen.get(kind, 0) + 1
            yield from _flat(f'{key}[{kind}{f" {seen[kind]}" if seen[kind] > 1 else ""}]', child)
    elif isinstance(value, list | tuple) and value and any(isinstance(child, list | tuple | dict) for child in value):
        for place, child in enumerate(value):
            yield from _flat(f'{key}[{place}]', child)
    else:
        yield key, ', '.join(map(str, value)) if isinstance(value, list | tuple) else str(value)


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


def _speed(run: Run) -> list[tuple[float, float]]:
    images = run.images_per_step
    return [(step, images / seconds) for step, seconds in run.curves.get('time', ()) if seconds > 0] if images else []


def _throughput(run: Run) -> str:
    """The median over the run."""
    speeds = sorted(value for _, value in _speed(run))
    return number(speeds[len(speeds) // 2]) if speeds else '-'


def chart_groups(runs: Sequence[Run]) -> list[tuple[str, list[Markup]]]:
    """Charts under headings. One run: a colour for each scalar; several: a colour a run, dashes for the scalars."""
    keys = list(dict.fromkeys(key for run in runs for key, curve in run.curves.items() if curve))
    branches = [key for key in keys if key.endswith('loss') and key != 'loss']
    losses = branches if len(branches) == 1 else [key for key in ['loss', *branches] if key in keys]
    rates = [key for key in keys if key.split('/')[-1] == 'lr' or key.startswith('lr_')]
    momenta = [key for key in keys if key in ('momentum', 'run/target_momentum')]
    nearest = [key for key in keys if key.startswith(('knn/', 'knn_target/'))]
    shares = [f'localization/{name}' for name in ('box_area', 'iou_with_last', 'whole', 'dead')]
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
            speed = [Series(run.name, _speed(run), colour) for colour, run in enumerate(runs) if _speed(run)]
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


def album(name: str, paths: Sequence[Path], most: int) -> dict:
    """Pictures of one folder, spread over the run."""
    heading, note = ALBUMS.get(name, (name.removeprefix('vis_').replace('_', ' ').capitalize(), ''))
    number_shown = min(most, len(paths))
    places = [round(place * (len(paths) - 1) / max(1, number_shown - 1)) for place in range(number_shown)]
    pictures = [picture for place in places if (picture := embedded(paths[place])) is not None]
    left_out = len(paths) - len(pictures)
    note += f' {left_out} more in the folder, or broken.' * bool(left_out)
    wide = any(picture['width'] > 700 for picture in pictures)
    single = len(pictures) == 1 and pictures[0]['width'] <= 460
    return dict(title=heading, note=note.strip(), pictures=pictures, wide=wide, single=single)


def embedded(path: Path) -> dict | None:
    """A picture as a data URI, PNG or WebP (quality 85), whichever is smaller; None if it is broken."""
    try:
        with Image.open(path) as file:
            picture = file.convert('RGB')
    except (OSError, SyntaxError):  # cut off while it was being written
        return None
    if picture.width > WIDEST:
        picture = picture.resize((WIDEST, max(1, round(picture.height * WIDEST / picture.width))))
    coded = {}
    for kind, options in (('png', dict(optimize=True)), ('webp', dict(quality=85, method=4))):
        buffer = io.BytesIO()
        picture.save(buffer, kind, **options)
        coded[kind] = buffer.getvalue()
    kind = min(coded, key=lambda kind: len(coded[kind]))
    data = f'data:image/{kind};base64,{base64.b64encode(coded[kind]).decode()}'
    return dict(caption=path.stem.replace('_', ' '), data=data, width=picture.width, height=picture.height)
