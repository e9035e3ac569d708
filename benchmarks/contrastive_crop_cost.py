"""What ContrastiveCrop costs over mmpretrain's RandomResizedCrop, per sample: crop, resize and box look-up.

    python benchmarks/contrastive_crop_cost.py [--samples 2000 --rounds 5 --out PATH]

Views of 224 pixels of a 500 x 375 image, transforms set as in mmpretrain's MoCo configs (backend pillow). They take
turns on every sample, in changing order and from the same random numbers, so that all resize crops of the same size and
what else the machine does falls on all. A ratio is the median over samples of a transform's time over
RandomResizedCrop's of the same sample; its range is that of the rounds' medians. Boxes are those of 1.28 million
images, read in random order.
"""

import argparse
import platform
import statistics
import sys
import time
from pathlib import Path

import numpy as np
from mmpretrain.datasets.transforms import RandomResizedCrop as StockCrop

from viewplug.box_store import BoxStore
from viewplug.transforms import ContrastiveCrop, RandomResizedCrop

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks.record import write  # noqa: E402

HEIGHT, WIDTH, SIZE = 375, 500, 224
IMAGES = 1_281_167
SETTINGS = dict(scale=SIZE, crop_ratio_range=(0.2, 1.0), backend='pillow')
BASE = 'mmpretrain.RandomResizedCrop'


def transforms() -> dict:
    """The transforms by name, RandomResizedCrop first."""
    store = BoxStore()
    corners = np.random.RandomState(0).rand(IMAGES, 2, 2).astype(np.float32)
    store.write(np.concatenate([corners.min(axis=1), corners.max(axis=1)], axis=1))
    return {
        BASE: StockCrop(**SETTINGS),
        'viewplug.RandomResizedCrop': RandomResizedCrop(**SETTINGS),
        'viewplug.ContrastiveCrop, alpha 1, no boxes yet': ContrastiveCrop(**SETTINGS, alpha=1),
        'viewplug.ContrastiveCrop, alpha 0.6, boxes': ContrastiveCrop(**SETTINGS, alpha=0.6, store=store),
        'viewplug.ContrastiveCrop, alpha 0.1, boxes': ContrastiveCrop(**SETTINGS, alpha=0.1, store=store),
    }


def measure(samples: int, rounds: int) -> list[dict]:
    """A row a transform."""
    crops = transforms()
    names = list(crops)
    image = np.random.RandomState(0).randint(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)
    indices = np.random.RandomState(1).randint(IMAGES, size=samples)
    seconds = np.empty((rounds, samples, len(names)))
    for round_ in range(rounds):
        for sample, index in enumerate(indices):
            for turn in range(len(names)):
                number = (turn + sample) % len(names)
                np.random.seed(sample)
                results = dict(img=image, sample_idx=int(index))
                begin = time.perf_counter()
                crops[names[number]](results)
                seconds[round_, sample, number] = time.perf_counter() - begin
    ratios = np.median(seconds / seconds[:, :, :1], axis=1)
    return [
        dict(
            name=name,
            microseconds=float(np.median(seconds[:, :, number])) * 1e6,
            ratio=float(statistics.median(ratios[:, number])),
            ratio_range=[float(ratios[:, number].min()), float(ratios[:, number].max())],
        )
        for number, name in enumerate(names)
    ]


def table(rows: list[dict]) -> str:
    lines = ['| transform | microseconds a view | over mmpretrain (range of rounds) |', '|---|---|---|']
    for row in rows:
        low, high = row['ratio_range']
        lines.append(f'| {row["name"]} | {row["microseconds"]:.0f} | {row["ratio"]:.3f} ({low:.3f} to {high:.3f}) |')
    return '\n'.join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--samples', type=int, default=2000)
    parser.add_argument('--rounds', type=int, default=5)
    parser.add_argument('--out', type=Path, default=ROOT / 'benchmarks/results/contrastive_crop_cost')
    args = parser.parse_args()
    rows = measure(args.samples, args.rounds)
    setting = dict(samples=args.samples, rounds=args.rounds, image=[HEIGHT, WIDTH], size=SIZE, boxes=IMAGES)
    setting |= dict(numpy=np.__version__, python=platform.python_version())
    write(args.out, dict(setting=setting, rows=rows), table(rows))
    print(table(rows))


if __name__ == '__main__':
    main()
