"""Precise RoI Pooling against RoIAlign (and, on a GPU, mmcv's kernel) at ReSim's sizes: time and memory.

    python benchmarks/prroi.py [--images 32 --rounds 20 --threads 1 --device cpu --out benchmarks/results/prroi]

Forward and backward for the features. The contestants are interleaved (A B A B ...); a ratio is the median over rounds
of our time over the other's of the same round. Time is the process's own (on a GPU: wall, synchronised), with freed
memory kept as in tools/train.py. Memory is what autograd keeps from forward to backward beside the features, in float32
copies of the features. prroi_pool takes boxes anywhere; prroi_pool_grid those of a grid, which ReSim's windows are in
both views.
"""

import argparse
import itertools
import statistics
import sys
import time
from pathlib import Path

import torch
from torchvision.ops import roi_align

from viewplug.devices import usable_device
from viewplug.host_memory import keep_freed_memory
from viewplug.ops import prroi_pool, prroi_pool_grid

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks.record import default_out, device_name, write  # noqa: E402

# name: channels, cells a side, boxes an image, bins a side, box side in cells
CASES = {
    'C4, W48-S32': (128, 14, 36, 1, 3),
    'P3, W32-S24': (128, 28, 81, 1, 4),
    'C4, 256 channels': (256, 14, 36, 1, 3),
    'detection, 7 x 7 bins': (256, 50, 64, 7, 14),
}


def contestants(device: str) -> dict:
    """Other operators of the same signature (features, boxes with image numbers, bins)."""
    found = {
        'RoIAlign, 2 x 2 samples': lambda f, rows, bins: roi_align(f, rows, bins, 1.0, 2),
        'RoIAlign, adaptive': lambda f, rows, bins: roi_align(f, rows, bins, 1.0, 0),
    }
    if device != 'cpu':
        try:
            from mmcv.ops.prroi_pool import prroi_pool as kernel

            some = torch.ones(1, 5, device=device)
            kernel(some.view(1, 1, 1, 5), some * 0, (1, 1), 1.0)
        except (ImportError, RuntimeError) as error:  # no compiled operators, or those of a machine without a GPU
            print(f'mmcv PrRoIPool is left out: {error}')
        else:
            found['mmcv PrRoIPool'] = lambda f, rows, bins: kernel(f, rows, (bins, bins), 1.0)
    return found


def measure(images: int, rounds: int, device: str) -> list[dict]:
    """A row for each case and contestant."""
    table = []
    for case, (channels, cells, number, bins, side) in CASES.items():
        count = images if bins == 1 else 2
        features = torch.randn(count, channels, cells, cells, device=device, requires_grad=True)
        corners = torch.rand(count, number, 2, device=device) * (cells - side)
        boxes = torch.cat([corners, corners + side], dim=-1)
        numbers = torch.arange(count, device=device).repeat_interleave(number).unsqueeze(1)
        rows = torch.cat([numbers, boxes.flatten(0, 1)], dim=1)
        runs = {'prroi_pool': lambda f=features, b=boxes, n=bins: prroi_pool(f, b, n)}
        if bins == 1:
            lines = torch.rand(2, count, round(number**0.5), 1, device=device) * (cells - side)
            lines = torch.cat([lines, lines + side], dim=-1)
            runs['prroi_pool_grid'] = lambda f=features, x=lines[0], y=lines[1]: prroi_pool_grid(f, x, y)
        for name, operator in contestants(device).items():
            runs[name] = lambda o=operator, f=features, r=rows, n=bins: o(f, r, n)
        times = {name: [] for name in runs}
        for round_ in range(rounds + 3):
            for name, run in runs.items():
                seconds = timed(run, features, device)
                if round_ >= 3:
                    times[name].append(seconds)
        ours = {name: times.pop(name) for name in list(times) if name.startswith('prroi_pool')}
        for (mine, my_times), (name, theirs) in itertools.product(ours.items(), times.items()):
            ratios = sorted(mine / other for mine, other in zip(my_times, theirs, strict=True))
            table.append(
                dict(
                    case=case,
                    ours=mine,
                    against=name,
                    milliseconds=statistics.median(my_times) * 1e3,
                    theirs=statistics.median(theirs) * 1e3,
                    ratio=statistics.median(ratios),
                    quartiles=statistics.quantiles(ratios, n=4)[::2],
                    memory=kept(runs[mine], features),
                    their_memory=kept(runs[name], features),
                )
            )
            print(row(table[-1]), flush=True)
    return table


def timed(run, features: torch.Tensor, device: str) -> float:
    """Seconds of forward and backward."""
    features.grad = None
    clock = time.process_time if device == 'cpu' else time.perf_counter
    if device != 'cpu':
        torch.cuda.synchronize()
    begin = clock()
    run().sum().backward()
    if device != 'cpu':
        torch.cuda.synchronize()
    return clock() - begin


def kept(run, features: torch.Tensor) -> float:
    """Elements that autograd keeps, in units of the features'."""
    sizes = {}
    keep = lambda t: sizes.update({t.untyped_storage().data_ptr(): t.untyped_storage().nbytes()}) or t  # noqa: E731
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda t: t):
        run()
    sizes.pop(features.untyped_storage().data_ptr(), None)
    return sum(sizes.values()) / (4 * features.numel())


def row(values: dict) -> str:
    low, high = values['quartiles']
    return (
        f'| {values["case"]} | {values["ours"]} | {values["against"]} | '
        f'{values["ratio"]:.2f} ({low:.2f} to {high:.2f}) | {values["memory"]:.2f} | {values["their_memory"]:.2f} |'
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--images', type=int, default=32)
    parser.add_argument('--rounds', type=int, default=20)
    parser.add_argument('--threads', type=int, default=1)
    parser.add_argument('--device', type=usable_device, default='cpu')
    parser.add_argument('--out', type=Path, help='default: benchmarks/results/prroi, with _cuda on a GPU')
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    if args.device == 'cpu':
        keep_freed_memory()
    rows = measure(args.images, args.rounds, args.device)
    setting = dict(images=args.images, rounds=args.rounds, threads=args.threads, device=device_name(args.device))
    lines = [
        "| case | ours | against | time over the other's (quartiles) | kept | kept by the other |",
        '|---|---|---|---|---|---|',
    ]
    out = args.out or default_out('prroi', args.device)
    write(out, dict(setting=setting, rows=rows), '\n'.join([*lines, *map(row, rows)]))


if __name__ == '__main__':
    main()
