"""What the formulas of scale_formulas.py come to on 8 and 64 GPUs; arithmetic only, nothing is measured.

    python -m benchmarks.scale_tables [--images-per-second 1000 --nvlink 200 --node-link 50 --slow-link 3]

What an item costs on one core is read from ``benchmarks/results/collectives.json``. Milliseconds are bytes over a speed
in GB/s that is assumed, not measured: NVLink for a GPU where all are in one node; else a node's link to the others, of
which a ring's every byte crosses each once, and an all-to-all that of its GPUs.
"""

from __future__ import annotations

import argparse
import json
import math
from pathlib import Path

from benchmarks.scale_formulas import contrasts, steps

ITEMS = Path(__file__).parent / 'results/collectives.json'
BILLION = 10**9
HEAT_MAP = 'heat map 7 x 7 to box at 224 px'
SETTINGS = [(8, 32), (8, 128), (64, 32), (64, 64), (64, 128)]
FASTER = 4  # a forward alone, than training


def table_of_steps(args: argparse.Namespace) -> str:
    lines = _head('part of a step', [f'{w} GPUs x {n}' for w, n in SETTINGS])
    for part in steps(8, 32):
        cells = []
        for w, n in SETTINGS:
            size = steps(w, n)[part]
            if w == 8:
                spent = f'{_short(size / args.nvlink / 1e6)} ms'
            else:
                crossing = 8 * size * 7 / 8 if part.endswith('all-to-all') else size
                fast, slow = (_short(crossing / link / 1e6) for link in (args.node_link, args.slow_link))
                spent = f'{fast} / {slow} ms'
            cells.append(f'{size / 1e6:,.1f} MB, {spent}' if size else '0')
        lines.append(f'| {part} | ' + ' | '.join(cells) + ' |')
    spent = (f'{n / args.images_per_second * 1e3:.0f} ms' for _, n in SETTINGS)
    lines.append(f'| the step at {args.images_per_second:,.0f} images/s a GPU (assumed) | ' + ' | '.join(spent) + ' |')
    return '\n'.join(lines)


def table_of_contrasts() -> str:
    lines = _head('10^9 multiply-accumulates an image', [f'{w} GPUs x {n}' for w, n in SETTINGS])
    for name in contrasts(8, 32):
        numbers = (contrasts(w, n)[name] / 1e9 for w, n in SETTINGS)
        lines.append(f'| {name} | ' + ' | '.join(f'{number:.2g}' for number in numbers) + ' |')
    return '\n'.join(lines)


def table_of_loader(args: argparse.Namespace) -> str:
    """Cores that a node of 8 GPUs needs so that these do not wait."""
    spent = item_seconds()
    decode, resize = spent['JPEG 500 x 375, decoded'], spent['image resized to 256 x 256, uint8']
    views = spent['two views of MoCo v2, 224 px, made from the decoded image in a worker']
    rate = 8 * args.images_per_second
    rows = {
        'training, views in the workers': (rate, [decode, views]),
        "training, `views='device'`: workers decode and resize": (rate, [decode, resize]),
        'an update of the boxes: workers decode and resize': (FASTER * rate, [decode, resize]),
        'an update: heat map to box, were it on the CPU': (FASTER * rate, [spent[HEAT_MAP]]),
    }
    lines = _head('', ['core-milliseconds an image', 'images/s a node', 'cores a node'])
    for name, (images, parts) in rows.items():
        text = ' + '.join(f'{part * 1e3:.2f}' for part in parts)
        lines.append(f'| {name} | {text} | {images:,.0f} | {math.ceil(images * sum(parts))} |')
    return '\n'.join(lines)


def item_seconds() -> dict[str, float]:
    """Of one item on one core, as measured."""
    rows = json.loads(ITEMS.read_text())['items']
    return {row['what']: row['microseconds'] / 1e6 for row in rows if row['microseconds'] is not None}


def _head(first: str, columns: list[str]) -> list[str]:
    return [' | '.join([f'| {first}'.rstrip(), *columns]) + ' |', '|---|' + '---|' * len(columns)]


def _short(milliseconds: float) -> str:
    return f'{milliseconds:,.0f}' if milliseconds >= 10 else f'{milliseconds:.1g}'


def table_of_data(args: argparse.Namespace) -> str:
    """What grows with the number of images."""
    sizes = {'ImageNet-1K': 1_281_167, 'ImageNet-22K': 14_197_122, '100 million': 10**8, 'a billion': BILLION}
    rate, gb, to_box = args.images_per_second, 1e9, item_seconds()[HEAT_MAP]
    rows = {
        'boxes, one file (16 B)': lambda m: f'{16 * m / gb:.3g} GB',
        'boxes, a file for each of 8 ranks: later / while replaced': lambda m: (
            f'{8 * 16 * m / gb:.3g} / {16 * 16 * m / gb:.3g} GB a node'
        ),
        'boxes, 8 ranks with one store=PATH: later / while replaced': lambda m: (
            f'{16 * m / gb:.3g} / {9 * 16 * m / gb:.3g} GB a node'
        ),
        "update's rows on the GPU, gathered and in order (2 x 24 B)": lambda m: f'{48 * m / gb:.3g} GB',
        'boxes in each checkpoint': lambda m: f'{16 * m / gb:.3g} GB',
        "source='views', 14 x 14 (1,568 B), a rank": lambda m: f'{1568 * m / gb:,.0f} GB',
        'names of files (88 B), a rank': lambda m: f'{88 * m / gb:.3g} GB',
        "DefaultSampler's list (48 B), a rank": lambda m: f'{48 * m / gb:.3g} GB',
        'index files of TarShards (24 B), on disk': lambda m: f'{24 * m / gb:.3g} GB',
        'an epoch on 64 GPUs': lambda m: f'{m / 64 / rate / 3600:.3g} h',
        'a forward over all images on 64 GPUs, 4 x as fast': lambda m: f'{m / 64 / rate / FASTER / 3600:.3g} h',
        'heat map to box for all images, one core for each of 64 ranks': lambda m: f'{m / 64 * to_box / 3600:.3g} h',
    }
    lines = _head('', list(sizes))
    lines += [f'| {name} | ' + ' | '.join(cell(m) for m in sizes.values()) + ' |' for name, cell in rows.items()]
    return '\n'.join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--images-per-second', type=float, default=1000, help='of training, a GPU')
    parser.add_argument('--nvlink', type=float, default=200, help='GB/s a GPU receives within a node')
    parser.add_argument('--node-link', type=float, default=50, help='GB/s a node receives (400 Gbit/s)')
    parser.add_argument('--slow-link', type=float, default=3, help='GB/s a node receives (25 Gbit/s)')
    args = parser.parse_args()
    print(table_of_steps(args), table_of_contrasts(), table_of_data(args), table_of_loader(args), sep='\n\n')


if __name__ == '__main__':
    main()
