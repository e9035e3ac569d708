"""One HTML file that shows runs: no network, no script, everything inside."""

from __future__ import annotations

import base64
import datetime
import io
from collections.abc import Sequence
from pathlib import Path

from jinja2 import Environment
from PIL import Image

import viewplug
from viewplug.visualization.report_charts import chart_groups
from viewplug.visualization.report_differences import differences
from viewplug.visualization.report_tables import summary, tables
from viewplug.visualization.run import Run

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
                    error=run.record.get('error'),
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
