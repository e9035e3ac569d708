"""SimCLR's Fig. 8 at small scale: linear accuracy of h under no, linear and non-linear projection heads of any width.

    python benchmarks/simclr_fig8.py [--widths 16 32 64 128 256 --seeds 0 1 2 --steps 500]

Both views are crops with colour jitter, grey and blur, as SimCLR cuts them (arXiv:2002.05709, app. A), at 32 pixels;
the network is small_simclr.py's, whose h has 64 numbers. A finished run is a line of --store and is not repeated: stop
the script and call it again to go on. Several at once share the runs by --share 1/2, --share 2/2.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # a clone works without `pip install -e .`

from benchmarks.run_store import RunStore, share_of
from benchmarks.small_simclr import CROP, HIDDEN, ROOT, Images, build, linear_top1, train
from viewplug.batch_views.view import View

COLOURS = [
    dict(type='RandomFlip', prob=0.5),
    dict(
        type='RandomApply',
        transforms=[dict(type='ColorJitter', brightness=0.8, contrast=0.8, saturation=0.8, hue=0.2)],
        prob=0.8,
    ),
    dict(type='RandomGrayscale', prob=0.2, keep_channels=True),
    dict(type='GaussianBlur', magnitude_range=(0.1, 2.0), magnitude_std='inf', prob=0.5),
]
KINDS = ('none', 'linear', 'mlp')
UNTRAINED = 'untrained'


def neck_of(kind: str, width: int | None) -> dict:
    """Config of a projection head."""
    if kind == 'none':
        return dict(type='viewplug.PoolNeck')
    layers = dict(linear=1, mlp=2)[kind]
    return dict(
        type='viewplug.MLPNeck',
        hidden_channels=HIDDEN,
        out_channels=width,
        num_layers=layers,
        norm_cfg=dict(type='BN') if kind == 'mlp' else None,
    )


def heads(widths: list[int]) -> list[tuple[str, int | None]]:
    """(kind, width) of every run of a seed: the network as it starts, no head, and each head."""
    return [(UNTRAINED, None), ('none', None), *((kind, width) for kind in KINDS[1:] for width in widths)]


def run(kind: str, width: int | None, seed: int, steps: int, data: dict[str, Images]) -> dict:
    if kind == UNTRAINED:
        return dict(kind=kind, width=width, seed=seed, top1=linear_top1(build(seed=seed), data['bank'], data['val']))
    views, model = [View([CROP, *COLOURS])], build(neck_of(kind, width), seed)
    trained = train(model, data['train'].pixels, [views, views], steps, seed=seed, common=None)
    top1 = linear_top1(trained.model, data['bank'], data['val'])
    return dict(
        kind=kind, width=width, seed=seed, steps=steps, top1=top1, loss=trained.loss, seconds=round(trained.seconds, 1)
    )


def order(row: dict) -> tuple:
    return (UNTRAINED, *KINDS).index(row['kind']), row['width'] or 0, row['seed']


def by_head(rows: list[dict]) -> dict[tuple[str, int | None], list[float]]:
    """Top-1 over seeds of each head."""
    found: dict[tuple[str, int | None], list[float]] = {}
    for row in sorted(rows, key=order):
        found.setdefault((row['kind'], row['width']), []).append(row['top1'])
    return found


def table(rows: list[dict], setting: dict) -> str:
    found = by_head(rows)
    widths = sorted({width for _, width in found if width})
    lines = [f'| head | {" | ".join(map(str, widths))} |', '|---' * (len(widths) + 1) + '|']
    for kind in KINDS:
        cells = [found.get((kind, None if kind == 'none' else width)) for width in widths]
        lines.append(f'| {kind} | {" | ".join(map(spread, cells))} |')
    trained = sum(row['kind'] != UNTRAINED for row in rows)
    seeds = len({row['seed'] for row in rows})
    over = f'mean ± standard deviation over {seeds} seeds' if seeds > 1 else 'one seed'
    runs = f'{trained} runs of {setting["steps"]} steps, {over}'
    untrained = spread(found.get((UNTRAINED, None)))
    return '\n'.join([*lines, '', f'{runs}. An untrained network has {untrained}.'])


def spread(values: list[float] | None) -> str:
    if not values:
        return ''
    return f'{statistics.mean(values):.1f}' + (f' ± {statistics.stdev(values):.1f}' if len(values) > 1 else '')


def plot(rows: list[dict], setting: dict, path: Path) -> None:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    found = by_head(rows)
    widths = sorted({width for _, width in found if width})
    figure = Figure(figsize=(7, 4), dpi=110, layout='constrained')
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    for place, kind in enumerate(KINDS):
        values = [found.get((kind, None if kind == 'none' else width), [float('nan')]) for width in widths]
        means = [statistics.mean(value) for value in values]
        errors = [statistics.stdev(value) if len(value) > 1 else float('nan') for value in values]
        at = [x + 0.27 * (place - 1) for x in range(len(widths))]
        axes.bar(at, means, 0.25, yerr=errors, capsize=3, label=kind, color=('0.7', 'tab:blue', 'tab:orange')[place])
    if (UNTRAINED, None) in found:
        level = statistics.mean(found[UNTRAINED, None])
        axes.axhline(level, color='black', linestyle=':', label='untrained')
    axes.set_xticks(range(len(widths)), widths)
    axes.set(xlabel='width of the projection', ylabel='linear top-1 of h in percent')
    axes.set_title(f'Projection heads on ShapeScenes, {setting["steps"]} steps')
    axes.legend(ncols=4, loc='lower center')
    figure.savefig(path)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--widths', type=int, nargs='+', default=[16, 32, 64, 128, 256])
    parser.add_argument('--steps', type=int, default=500)
    parser.add_argument('--seeds', type=int, nargs='+', default=[0, 1, 2])
    parser.add_argument('--images', type=int, nargs=3, default=(4000, 2000, 1000), metavar=('TRAIN', 'BANK', 'VAL'))
    parser.add_argument('--share', default='1/1', help='K/N does every N-th run, from the K-th on')
    parser.add_argument('--threads', type=int, default=1)
    parser.add_argument('--store', type=Path, default=ROOT / 'work_dirs/simclr_fig8.jsonl')
    parser.add_argument('--out', type=Path, default=ROOT / 'benchmarks/results/simclr_fig8')
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    splits = dict(train='train', bank='train', val='val')
    data = {name: Images.scenes(splits[name], number) for name, number in zip(splits, args.images, strict=True)}

    store = RunStore(args.store)
    if not store.begin(dict(images=list(args.images), batch_size=64, steps=args.steps), dict):
        return 2
    done = {(row['kind'], row['width'], row['seed']) for row in store.rows}
    for kind, width, seed in share_of([(*head, s) for s in args.seeds for head in heads(args.widths)], args.share):
        if (kind, width, seed) not in done:
            store.append(run(kind, width, seed, args.steps, data))
            store.report(args.out, table, plot, order)
            print(store.rows[-1], flush=True)
    print(store.report(args.out, table, plot, order))
    return 0


if __name__ == '__main__':
    sys.exit(main())
