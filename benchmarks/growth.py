"""How time per step and peak memory grow with the batch, the queue and the number of views.

    python -m benchmarks.growth [--passes 2 --seconds 2 --threads 2 --device cpu --out benchmarks/results/growth]

MoCo v2 with EMAN on a ResNet-18 for 32 pixels, an eighth as wide; one quantity at a time leaves the base setting (batch
64, queue 4096, two views; all views online, the target sees two). For the queue the head alone is measured too: loss,
backward, enqueue. Every point is a process of its own, in passes over all points, so that what else the machine does
does not fall on one axis.

Beside each step the same process takes, in turns, the bare work that it cannot do without: the forwards and backwards
of the network alone; for the head two matrix products and a softmax. Their ratio tells growth of ours from that of
caches, the allocator and a busy machine, which is in both.

Memory is the peak of the resident set over what it was when everything had been imported (on a GPU: of torch's
allocations). A straight line is fitted so that relative deviations are small; the largest one is reported: a knee, or
growth that is not linear, stands out there.
"""

from __future__ import annotations

import argparse
import copy
import json
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import torch

ROOT = Path(__file__).resolve().parents[1]
BASE = dict(batch=64, queue=4096, views=2)
AXES = dict(
    batch=(32, 64, 128, 256, 512, 1024),
    queue=(4096, 16384, 65536, 262144, 1048576),
    views=(2, 3, 4, 6, 8, 12),
)
DIM, SIZE = 128, 32
UNITS = dict(seconds=('ms a step', 1e3), bytes=('peak memory, MiB', 2**-20))


def model_step(batch: int, queue: int, views: int, device: str):
    """A function that takes one training step, and one that does the network's part of it alone."""
    from viewplug.frameworks import Siamese

    model = Siamese(
        backbone=dict(
            type='mmpretrain.ResNet_CIFAR',
            depth=18,
            stem_channels=8,
            base_channels=8,
            out_indices=(3,),
            style='pytorch',
        ),
        branches=dict(image=dict(neck=dict(type='MLPNeck', out_channels=DIM), head=_head(queue))),
        target=dict(type='MomentumTarget', momentum=0.99, eman=True),
        online_views=tuple(range(views)),
        target_views=(0, 1),
    ).to(device)
    model.train()
    images = [torch.randn(batch, 3, SIZE, SIZE, device=device) for _ in range(views)]
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.01, momentum=0.9)

    def step() -> None:
        losses = model(images, mode='loss')
        optimizer.zero_grad()
        sum(value for key, value in losses.items() if 'loss' in key).backward()
        optimizer.step()

    network = torch.nn.Sequential(copy.deepcopy(model.backbone), copy.deepcopy(model.branches.image.neck))

    def bare() -> None:
        with torch.no_grad():
            network.eval()
            for view in images[:2]:
                network(view)
        network.train()
        sum(_tensor(network(view)).sum() for view in images).backward()

    return step, bare


def head_step(batch: int, queue: int, views: int, device: str):
    """A function that compares one view with another and enqueues the keys, and one with the bare arithmetic."""
    from viewplug.registry import MODELS

    head = MODELS.build(_head(queue)).to(device)
    query, key = (torch.nn.functional.normalize(torch.randn(batch, DIM, device=device), dim=1) for _ in range(2))
    query.requires_grad_()

    def step() -> None:
        head.loss(query, key)['loss'].backward()
        head.update([key])

    def bare() -> None:
        torch.softmax(query.detach() @ head.queue.t(), dim=1) @ head.queue

    return step, bare


def _tensor(output) -> torch.Tensor:
    return output[0] if isinstance(output, tuple | list) else output


def _head(queue: int) -> dict:
    return dict(type='QueueHead', queue_len=queue, feat_dim=DIM, loss=dict(type='InfoNCELoss', temperature=0.2))


STEPS = dict(step=model_step, head=head_step)


def measure(what: str, setting: dict, seconds: float, threads: int, device: str) -> dict:
    """Times of single steps, and the peak of memory, in this process."""
    import viewplug.frameworks  # before memory is looked at
    import viewplug.heads  # noqa: F401

    torch.set_num_threads(threads)
    torch.manual_seed(0)
    cuda = device != 'cpu'
    before = torch.cuda.memory_allocated() if cuda else _memory('VmRSS')
    step, bare = STEPS[what](**setting, device=device)
    for _ in range(2):
        step()
    peak = torch.cuda.max_memory_allocated() if cuda else _memory('VmHWM')
    bare()
    times: dict[str, list[float]] = dict(times=[], bare=[])
    begin = time.perf_counter()
    while len(times['bare']) < 3 or time.perf_counter() - begin < seconds:
        for name, function in (('times', step), ('bare', bare)):
            start = time.perf_counter()
            function()
            if cuda:
                torch.cuda.synchronize()
            times[name].append(time.perf_counter() - start)
    return dict(times, bytes=peak - before)


def _memory(kind: str) -> int:
    """Bytes: 'VmRSS' resident now, 'VmHWM' at most so far."""
    try:
        lines = Path('/proc/self/status').read_text().splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(kind))
    except (OSError, StopIteration):  # no Linux: the peak for both, so that small points read as nothing
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak if sys.platform == 'darwin' else peak * 1024


def points() -> list[tuple[str, str, int]]:
    """(axis, what, value)."""
    found = [(axis, 'step', value) for axis, values in AXES.items() for value in values]
    return found + [('queue', 'head', value) for value in AXES['queue']]


def measure_all(passes: int, seconds: float, threads: int, device: str) -> list[dict]:
    """A row a point: least seconds over all passes (what else the machine does only adds), largest peak."""
    found: dict[tuple, list[dict]] = {point: [] for point in points()}
    for number in range(passes):
        for point in found if number % 2 == 0 else reversed(found):
            axis, what, value = point
            setting = {**BASE, axis: value}
            arguments = ['--point', json.dumps(dict(what=what, setting=setting, seconds=seconds))]
            arguments += ['--threads', str(threads), '--device', device]
            command = [sys.executable, '-m', 'benchmarks.growth', *arguments]
            run = subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True)
            found[point].append(json.loads(run.stdout.splitlines()[-1]))
            print(f'pass {number + 1} of {passes}: {axis} {value}, {what}', file=sys.stderr)
    rows = []
    for (axis, what, value), runs in found.items():
        times, bare = ([seconds for run in runs for seconds in run[key]] for key in ('times', 'bare'))
        row = dict(axis=axis, what=what, value=value, steps=len(times), bytes=max(run['bytes'] for run in runs))
        ratio = statistics.median(mine / base for mine, base in zip(times, bare, strict=True))
        rows.append(dict(row, seconds=min(times), bare=min(bare), over_bare=ratio))
    return rows


def fit(rows: list[dict], axis: str, what: str, quantity: str) -> dict:
    """The line through an axis' points, and how far the worst of them is from it, as a share of the line's value."""
    points = [row for row in rows if row['axis'] == axis and row['what'] == what]
    x, y = (np.array([row[key] for row in points], dtype=float) for key in ('value', quantity))
    slope, intercept = np.polyfit(x, y, 1, w=1 / np.maximum(y, 1e-12))
    deviations = y / (intercept + slope * x) - 1
    worst = int(np.abs(deviations).argmax())
    return dict(
        axis=axis,
        what=what,
        quantity=quantity,
        slope=float(slope),
        intercept=float(intercept),
        deviation=float(deviations[worst]),
        at=int(x[worst]),
    )


def fits_of(rows: list[dict]) -> list[dict]:
    curves = list(dict.fromkeys((row['axis'], row['what']) for row in rows))
    return [fit(rows, axis, what, quantity) for axis, what in curves for quantity in UNITS]


def table(rows: list[dict], fits: list[dict]) -> str:
    lines = ['| axis | value | what | ms a step | over bare work | peak memory, MiB |', '|---|---|---|---|---|---|']
    for row in rows:
        lines.append(
            f'| {row["axis"]} | {row["value"]} | {row["what"]} | {row["seconds"] * 1e3:.1f} | {row["over_bare"]:.2f} | '
            f'{row["bytes"] / 2**20:.0f} |'
        )
    lines += [
        '',
        '| axis | what | quantity | fixed | per unit | largest deviation | at |',
        '|---|---|---|---|---|---|---|',
    ]
    for one in fits:
        name, scale = UNITS[one['quantity']]
        lines.append(
            f'| {one["axis"]} | {one["what"]} | {name} | {one["intercept"] * scale:.3g} | {one["slope"] * scale:.3g} | '
            f'{one["deviation"]:+.1%} | {one["at"]} |'
        )
    return '\n'.join(lines)


def plot(rows: list[dict], fits: list[dict], path: Path) -> None:
    """A column an axis, time above memory; points and their line."""
    import matplotlib

    matplotlib.use('Agg')
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(len(UNITS), len(AXES), figsize=(12, 6), constrained_layout=True)
    for column, axis in enumerate(AXES):
        for line, (quantity, (name, scale)) in enumerate(UNITS.items()):
            panel = axes[line][column]
            for one in (one for one in fits if one['axis'] == axis and one['quantity'] == quantity):
                points = [row for row in rows if row['axis'] == axis and row['what'] == one['what']]
                x = np.array([row['value'] for row in points], dtype=float)
                label = {'step': 'whole step', 'head': 'head alone'}[one['what']]
                colour = {'step': 'tab:blue', 'head': 'tab:orange'}[one['what']]
                panel.plot(x, [row[quantity] * scale for row in points], 'o', color=colour, label=label)
                ends = np.array([0, x.max()])
                panel.plot(ends, (one['intercept'] + one['slope'] * ends) * scale, '-', color=colour, linewidth=1)
                if quantity == 'seconds':
                    bare = [row['bare'] * scale for row in points]
                    panel.plot(x, bare, 'x', color=colour, alpha=0.6, label=f'bare work of the {one["what"]}')
                panel.plot([], [], ' ', label=f'worst {one["deviation"]:+.0%} at {one["at"]}')
            panel.set_xlim(left=0)
            panel.set_ylim(bottom=0)
            panel.set_xlabel({'batch': 'images a step', 'queue': 'keys in the queue', 'views': 'views'}[axis])
            panel.set_ylabel(name)
            panel.legend(fontsize=8)
    figure.savefig(path, dpi=120)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--passes', type=int, default=2)
    parser.add_argument('--seconds', type=float, default=2, help='of steps, a point and pass; three at least')
    parser.add_argument('--threads', type=int, default=2)
    parser.add_argument('--device', default='cuda' if torch.cuda.is_available() else 'cpu')
    parser.add_argument('--out', type=Path, default=ROOT / 'benchmarks/results/growth')
    parser.add_argument('--point', type=json.loads, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.point:
        print(json.dumps(measure(**args.point, threads=args.threads, device=args.device)))
        return
    begin = time.time()
    rows = measure_all(args.passes, args.seconds, args.threads, args.device)
    fits = fits_of(rows)
    setting = dict(base=BASE, passes=args.passes, seconds=args.seconds, threads=args.threads, device=args.device)
    setting |= dict(dim=DIM, size=SIZE, torch=torch.__version__, took=round(time.time() - begin))
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.with_suffix('.json').write_text(json.dumps(dict(setting=setting, rows=rows, fits=fits), indent=1) + '\n')
    args.out.with_suffix('.md').write_text(table(rows, fits) + '\n')
    plot(rows, fits, args.out.with_suffix('.png'))
    print(table(rows, fits))


if __name__ == '__main__':
    main()
