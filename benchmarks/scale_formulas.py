"""Bytes between processes by formula, and what they come to on 8 and 64 GPUs; arithmetic only, nothing is measured.

    python -m benchmarks.scale_formulas [--images-per-second 1000 --nvlink 200 --node-link 50 --slow-link 3]

What an item costs on one core is read from ``benchmarks/results/collectives.json``.

``python -m benchmarks.collectives`` compares the formulas with what gloo processes really move. W processes, N images a
process, D numbers an embedding, all in bytes that a process receives (it sends as many), by the ring algorithm.
Milliseconds are bytes over a speed in GB/s that is assumed, not measured: NVLink for a GPU where all are in one node;
else a node's link to the others, of which a ring's every byte crosses each once, and an all-to-all that of its GPUs.
"""

from __future__ import annotations

import argparse
import json
import math
from pathlib import Path

ITEMS = Path(__file__).parent / 'results/collectives.json'
FLOAT, LONG, DOUBLE = 4, 8, 8
R50 = dict(backbone=23_508_032, batch_norm_layers=53, batch_norm_channels=26_560)
MLP = 2048 * 2048 + 2048 + 2048 * 128 + 128
R50_FORWARD = 4.1e9  # multiply-accumulates at 224 px, torchvision's table
C4 = dict(windows=6**2, positions=12**2)  # queries and negatives of an image, RegionHead
P3 = dict(windows=9**2, positions=26**2)
CPC = dict(predictions=140, patches=7**2, width=1024)  # of an image, configs/cpc/cpc_v1_r101.py
BILLION = 10**9
HEAT_MAP = 'heat map 7 x 7 to box at 224 px'
SETTINGS = [(8, 32), (8, 128), (64, 32), (64, 64), (64, 128)]
FASTER = 4  # a forward alone, than training


def gather(w: int, size: float) -> float:
    """Of ``size`` bytes a process."""
    return (w - 1) * size


def all_reduce(w: int, size: float) -> float:
    """Of ``size`` bytes."""
    return 2 * (w - 1) / w * size


def broadcast(w: int, size: float) -> float:
    """Of ``size`` bytes, the mean over processes, of which one only sends."""
    return (w - 1) / w * size


all_to_all = broadcast
"""Of ``size`` bytes that a process holds, an even share of which stays."""


def image_bytes(size: int) -> int:
    return 3 * size**2 * FLOAT


def queue(w: int, n: int, d: int, views: int = 1) -> float:
    """The keys of ``views`` target views."""
    return gather(w, views * n * d * FLOAT)


def shuffle_images(w: int, n: int, size: int, views: int = 1) -> float:
    """ShuffleBN's images by an all-to-all, and the order."""
    return views * (all_to_all(w, n * image_bytes(size)) + broadcast(w, w * n * LONG))


def shuffle_keys(w: int, n: int, d: int, views: int = 1) -> float:
    """ShuffleBN's way back."""
    return all_to_all(w, views * n * d * FLOAT)


def in_batch_forward(w: int, n: int, d: int, pairs: int = 2) -> float:
    return pairs * gather(w, 2 * n * d * FLOAT)


def in_batch_backward(w: int, n: int, d: int, pairs: int = 2) -> float:
    return pairs * all_reduce(w, w * 2 * n * d * FLOAT)


def regions(w: int, n: int, positions: int, d: int) -> float:
    """ReSim's negatives of one level with gather=True, for a pair of views whose target has no gradient."""
    return gather(w, n * positions * d * FLOAT)


def region_counts(w: int, levels: int = 1) -> float:
    """How many windows count, a number a level, for a pair of views; also with gather=False or the cosine."""
    return all_reduce(w, levels * FLOAT)


def centres(w: int, prototypes: int, heads: int = 1) -> float:
    """DINO's and iBOT's sums of logits and number of rows, of each head."""
    return heads * all_reduce(w, (prototypes + 1) * FLOAT)


def cpc_forward(w: int, n: int, patches: int, d: int) -> float:
    """CPC's candidates, negatives='batch'."""
    return gather(w, n * patches * d * FLOAT)


def cpc_backward(w: int, n: int, patches: int, d: int) -> float:
    return all_reduce(w, w * n * patches * d * FLOAT)


def gradients(w: int, parameters: int) -> float:
    return all_reduce(w, parameters * FLOAT)


def sync_bn(w: int, channels: int, layers: int, forwards: int, backwards: int) -> float:
    """torch's SyncBatchNorm: mean, inverse deviation and count of each layer; two sums a channel in backward."""
    return forwards * gather(w, (2 * channels + layers) * FLOAT) + backwards * all_reduce(w, 2 * channels * FLOAT)


def running_stats(w: int, channels: int) -> float:
    """Means and variances of so many channels of batch norm, in float64."""
    return all_reduce(w, 2 * channels * DOUBLE)


def knn(w: int, queries: int, d: int, k: int) -> float:
    """An evaluation: features and labels of the queries, the k nearest of each in every part of the bank, and how
    many images of the bank cannot be read."""
    rows, nearest = math.ceil(queries / w) * (d * FLOAT + LONG), queries * k * (FLOAT + LONG)
    return gather(w, rows) + gather(w, nearest) + all_reduce(w, LONG)


def box_update(w: int, images: int) -> float:
    """An update: box, dead, unreadable."""
    return gather(w, math.ceil(images / w) * 6 * FLOAT)


def merged_maps(w: int, images: int, grid: int) -> float:
    """What source='views' adds to an update."""
    return 2 * all_reduce(w, images * grid**2 * FLOAT)


def steps(w: int, n: int, d: int = 128, size: int = 224) -> dict[str, float]:
    """Bytes of the parts of a step; ResNet-50, and the heads at their papers' sizes."""
    layers = dict(channels=R50['batch_norm_channels'], layers=R50['batch_norm_layers'])
    return {
        'gradients (every framework)': gradients(w, R50['backbone'] + MLP),
        'MoCo: keys for the queue': queue(w, n, d),
        'MoCo: ShuffleBN, were its images gathered': gather(w, n * image_bytes(size)),
        'MoCo: ShuffleBN, keys back': shuffle_keys(w, n, d),
        'MoCo: ShuffleBN, images by an all-to-all': shuffle_images(w, n, size),
        'MoCo: SyncBN on both sides': sync_bn(w, **layers, forwards=2, backwards=1),
        'MoCo: eman=True': running_stats(w, R50['batch_norm_channels']),
        'SimCLR: embeddings': in_batch_forward(w, n, d),
        'SimCLR: their gradient': in_batch_backward(w, n, d),
        'SimCLR: SyncBN, joint views': sync_bn(w, **layers, forwards=1, backwards=1),
        'ReSim-C4: negatives, gather=True': regions(w, n, C4['positions'], d),
        "ReSim-FPN: P3's, were they gathered": regions(w, n, P3['positions'], d),
        'DINO: centre of 65,536 prototypes': centres(w, 65_536),
        'iBOT: two centres of 8,192': centres(w, 8192, heads=2),
        "DINO: gradients of the prototypes' layer, 256 x 65,536": gradients(w, 256 * 65_536),
        "CPC: patches, negatives='batch'": cpc_forward(w, n, CPC['patches'], CPC['width']),
        'CPC: their gradient': cpc_backward(w, n, CPC['patches'], CPC['width']),
    }


def contrasts(w: int, n: int, d: int = 128) -> dict[str, float]:
    """Multiply-accumulates an image of the similarities, which is one matrix product; gradients are one or two more."""
    return {
        'MoCo: queue of 65,536': 65_536 * d,
        'SimCLR': 2 * 2 * w * n * d,
        'ReSim-C4, gather=True': C4['windows'] * C4['positions'] * w * n * d,
        'ReSim-C4, gather=False': C4['windows'] * C4['positions'] * n * d,
        'ReSim-FPN: P3, gather=False': P3['windows'] * P3['positions'] * n * d,
        "CPC, negatives='batch'": CPC['predictions'] * CPC['patches'] * w * n * CPC['width'],
        "CPC, negatives='image'": CPC['predictions'] * CPC['patches'] * CPC['width'],
        'for comparison: a forward of ResNet-50': R50_FORWARD,
    }


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
