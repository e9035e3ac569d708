"""SimCLR's Fig. 5 at small scale: linear accuracy after pre-training with one operator, or two one after the other.

    python benchmarks/simclr_fig5.py --budget 30                # seconds of pre-training a cell
    python benchmarks/simclr_fig5.py --steps 300 --ordered      # both orders of each pair

As in the paper (arXiv:2002.05709, sec. 3.1) an image is first cropped at random and resized; one view is that crop, and
the operators are applied to the other one only. Columns and rows are the nine operators of its Fig. 4; the diagonal
is an operator alone. All cells take the same number of steps: --steps, or as many of the slowest pair as fit into
--budget, measured by the first call and noted in the results. Whatever is slower than twice its share stops there and
says how many steps it took. A finished cell is a line of --store and is not repeated: stop the script and call it
again to go on. Several at once share the cells by --share 1/2, --share 2/2.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # a clone works without `pip install -e .`

from benchmarks.run_store import RunStore, share_of
from benchmarks.small_simclr import CROP, ROOT, WHOLE, Images, build, linear_top1, train
from viewplug.batch_views.view import View

OPERATORS = dict(
    crop=[CROP],
    crop_flip=[CROP, dict(type='RandomFlip', prob=0.5)],
    color_drop=[WHOLE, dict(type='RandomGrayscale', prob=0.5, keep_channels=True)],
    color_jitter=[WHOLE, dict(type='ColorJitter', brightness=0.8, contrast=0.8, saturation=0.8, hue=0.2)],
    rotate=[WHOLE, dict(type='QuarterTurn', prob=1.0)],
    cutout=[WHOLE, dict(type='Cutout', magnitude_range=(8, 20), magnitude_std='inf', prob=1.0)],
    noise=[WHOLE, dict(type='GaussianNoise', magnitude_range=(0, 40), magnitude_std='inf', prob=1.0)],
    blur=[WHOLE, dict(type='GaussianBlur', magnitude_range=(0.1, 2.0), magnitude_std='inf', prob=1.0)],
    sobel=[WHOLE, dict(type='Sobel', prob=0.5)],
)
"""The operators of Fig. 4 (b) to (j) at 32 pixels. What has no strength to draw is applied to half of the views."""
SLOWEST = ('color_jitter', 'blur')


def cells(ordered: bool) -> list[tuple[str, str]]:
    """(first, second) operator of every cell: singles first, then pairs."""
    names = list(OPERATORS)
    pairs = [(a, b) for i, a in enumerate(names) for j, b in enumerate(names) if i < j or (ordered and i != j)]
    return [(name, name) for name in names] + pairs


def views_of(first: str, second: str) -> list[View]:
    names = [first] if first == second else [first, second]
    return [View(OPERATORS[name]) for name in names]


def measured_steps(images: Images, budget: float) -> int:
    """As many steps of the slowest pair as fit into ``budget`` seconds."""
    model = build()
    train(model, images.pixels, [[], views_of(*SLOWEST)], steps=3)
    run = train(model, images.pixels, [[], views_of(*SLOWEST)], steps=10)
    return max(10, int(budget / run.seconds * 10))


def run_cell(first: str, second: str, steps: int, most_seconds: float, seed: int, data: dict[str, Images]) -> dict:
    torch.manual_seed(seed)
    run = train(
        build(seed=seed),
        data['train'].pixels,
        [[], views_of(first, second)],
        steps,
        most_seconds=most_seconds,
        seed=seed,
    )
    top1 = linear_top1(run.model, data['bank'], data['val'])
    return dict(
        first=first, second=second, top1=top1, loss=run.loss, steps=run.steps, seconds=round(run.seconds, 1), seed=seed
    )


def by_cell(rows: list[dict]) -> dict[tuple[str, str], list[float]]:
    """(first, second) operator -> top-1 of each seed."""
    found: dict[tuple[str, str], list[float]] = {}
    for row in rows:
        found.setdefault((row['first'], row['second']), []).append(row['top1'])
    return found


def matrix(rows: list[dict]) -> dict[tuple[str, str], float]:
    """Mean top-1 of each cell over its seeds. A pair measured in one order only counts for both."""
    means = {cell: sum(values) / len(values) for cell, values in by_cell(rows).items()}
    return {**{(second, first): value for (first, second), value in means.items()}, **means}


def spreads(rows: list[dict]) -> list[float]:
    """Of each cell that several seeds have: its best top-1 less its worst."""
    return [max(values) - min(values) for values in by_cell(rows).values() if len(values) > 1]


def table(rows: list[dict], setting: dict) -> str:
    values = matrix(rows)
    names = list(OPERATORS)
    lines = [f'| first \\ second | {" | ".join(names)} | mean |', '|---' * (len(names) + 2) + '|']
    for first in names:
        row = [values.get((first, second)) for second in names]
        mean = f'{sum(row) / len(row):.1f}' if None not in row else ''  # of some of a row means nothing
        lines.append(f'| {first} | {" | ".join("" if v is None else f"{v:.1f}" for v in row)} | {mean} |')
    short = sum(row['steps'] < setting['steps'] for row in rows)
    untrained = setting.get('untrained')
    lines += ['', f'{len(rows)} runs of {setting["steps"]} steps ({short} were cut short by the clock).']
    if untrained is not None:
        lines.append(f'An untrained network has {untrained:.1f}.')
    if apart := spreads(rows):
        lines.append(f"A cell's seeds are {sum(apart) / len(apart):.1f} apart on average, {max(apart):.1f} at most.")
    return '\n'.join(lines)


def plot(rows: list[dict], setting: dict, path: Path) -> None:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    values, names = matrix(rows), list(OPERATORS)
    grid = [[values.get((first, second), float('nan')) for second in names] for first in names]
    for row in grid:
        row.append(sum(row) / len(row))  # nan while a cell is missing
    figure = Figure(figsize=(8.6, 7), dpi=110, layout='constrained')
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    picture = axes.imshow(grid, cmap='YlGnBu')
    low, high = picture.get_clim()  # of the colours
    for y, row in enumerate(grid):
        for x, value in enumerate(row):
            if value == value:
                colour = 'white' if value > low + 0.6 * (high - low) else 'black'
                axes.text(x, y, f'{value:.1f}', ha='center', va='center', fontsize=9, color=colour)
    axes.axvline(len(names) - 0.5, color='white', linewidth=3)
    axes.set_xticks(range(len(names) + 1), [*names, 'mean'], rotation=40, ha='right')
    axes.set_yticks(range(len(names)), names)
    axes.set_xlabel('second operator')
    axes.set_ylabel('first operator')
    untrained = f', untrained {setting["untrained"]:.1f}' if 'untrained' in setting else ''
    axes.set_title(
        f'Linear top-1 in percent, operators on one branch only\nShapeScenes, {setting["steps"]} steps{untrained}'
    )
    figure.colorbar(picture, shrink=0.8)
    figure.savefig(path)


def order(row: dict) -> tuple:
    """Of the matrix, seed by seed."""
    return row['seed'], cells(ordered=True).index((row['first'], row['second']))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--budget', type=float, default=30, help='seconds of pre-training a cell')
    parser.add_argument('--steps', type=int, help='of every cell, in place of what fits into --budget')
    parser.add_argument('--minutes', type=float, default=float('inf'), help='start no further cell after this')
    parser.add_argument('--ordered', action='store_true', help='both orders of each pair: 81 cells in place of 45')
    parser.add_argument('--seeds', type=int, nargs='+', default=[0])
    parser.add_argument('--images', type=int, nargs=3, default=(4000, 2000, 1000), metavar=('TRAIN', 'BANK', 'VAL'))
    parser.add_argument('--share', default='1/1', help='K/N does every N-th cell, from the K-th on')
    parser.add_argument('--threads', type=int, default=1)
    parser.add_argument('--store', type=Path, default=ROOT / 'work_dirs/simclr_fig5.jsonl')
    parser.add_argument('--out', type=Path, default=ROOT / 'benchmarks/results/simclr_fig5')
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    begin = time.time()
    splits = dict(train='train', bank='train', val='val')
    data = {name: Images.scenes(splits[name], number) for name, number in zip(splits, args.images, strict=True)}

    def further() -> dict:
        steps = args.steps or measured_steps(data['train'], args.budget)
        return dict(steps=steps, untrained=linear_top1(build(seed=args.seeds[0]), data['bank'], data['val']))

    store = RunStore(args.store)
    wanted = dict(images=list(args.images), batch_size=64) | (dict(steps=args.steps) if args.steps else {})
    setting = store.begin(wanted, further)
    if setting is None:
        return 2
    done = {(row['first'], row['second'], row['seed']) for row in store.rows}
    for seed, first, second in share_of([(s, *cell) for s in args.seeds for cell in cells(args.ordered)], args.share):
        if (first, second, seed) in done:
            continue
        if time.time() - begin > 60 * args.minutes:
            print('Out of time; call again to go on.')
            break
        store.append(run_cell(first, second, setting['steps'], 2 * args.budget, seed, data))
        store.report(args.out, table, plot, order)
        print(store.rows[-1], flush=True)
    print(store.report(args.out, table, plot, order))
    return 0


if __name__ == '__main__':
    sys.exit(main())
