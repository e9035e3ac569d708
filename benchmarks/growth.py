"""How time per step and peak memory grow with the batch, the queue, the number of views, and what heads add.

    python -m benchmarks.growth [--passes 2 --seconds 2 --threads 2 --device cpu --out benchmarks/results/growth]
    python -m benchmarks.growth --axes regions prototypes queries    # the others' rows stay as they are in --out

MoCo v2 with EMAN on a ResNet-18 for 32 pixels, an eighth as wide; one quantity at a time leaves the base setting (batch
64, queue 4096, two views; all views online, the target sees two). For the queue the head alone is measured too: loss,
backward, enqueue. Three more are measured alone, forward and backward on random features or images: ReSim-C4's
RegionHead against the images whose regions are compared (the global batch; its cost grows with their square), DINO's
projection, loss and centre against prototypes, and two blocks of ADCLR's ViT-S/16 against queries. Every point is a
process of its own, in passes over all points, so that what else the machine does does not fall on one axis.

Beside each step the same process takes, in turns, the bare work that it cannot do without: the forwards and backwards
of the network alone; for the heads matrix products and softmax; for queries plain self-attention among as many tokens.
Their ratio tells growth of ours from that of caches, the allocator and a busy machine, which is in both.

Memory is the peak of the resident set over what it was when everything had been imported (on a GPU: of torch's
allocations). On a CPU freed memory stays with the process, as in tools/train.py. A straight line is fitted (for
RegionHead's time a parabola) so that relative deviations are small; the largest one is reported: a knee, or growth of
another kind, stands out there.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # a clone works without `pip install -e .`

from benchmarks.growth_report import fits_of, plot, table
from benchmarks.growth_steps import BASE, STEPS
from benchmarks.record import default_out, device_name, write
from viewplug.devices import usable_device
from viewplug.host_memory import keep_freed_memory

ROOT = Path(__file__).resolve().parents[1]
AXES = dict(
    batch=(32, 64, 128, 256, 512, 1024),
    queue=(4096, 16384, 65536, 262144, 1048576),
    views=(2, 3, 4, 6, 8, 12),
    regions=(8, 16, 32, 64, 128, 256),
    prototypes=(4096, 16384, 65536, 131072, 262144),
    queries=(0, 5, 10, 25, 50),
)
WHATS = dict(
    batch=('step',),
    queue=('step', 'head'),
    views=('step',),
    regions=('RegionHead',),
    prototypes=('DINO head',),
    queries=('QueryViT',),
)


def measure(what: str, setting: dict, seconds: float, threads: int, device: str) -> dict:
    """Times of single steps, and the peak of memory, in this process."""
    import viewplug.backbones  # before memory is looked at
    import viewplug.frameworks
    import viewplug.heads  # noqa: F401

    torch.set_num_threads(threads)
    torch.manual_seed(0)
    cuda = device != 'cpu'
    before = torch.cuda.memory_allocated() if cuda else _memory('VmRSS')
    step, bare = STEPS[what](device, **setting)
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


def measure_apart(what: str, setting: dict, seconds: float, threads: int, device: str) -> dict:
    """The same in a process of its own."""
    point = json.dumps(dict(what=what, setting=setting, seconds=seconds))
    command = [sys.executable, '-m', 'benchmarks.growth', '--point', point]
    command += ['--threads', str(threads), '--device', device]
    run = subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True)
    return json.loads(run.stdout.splitlines()[-1])


def points(axes: Sequence[str]) -> list[tuple[str, str, int]]:
    """(axis, what, value)."""
    return [(axis, what, value) for axis in axes for what in WHATS[axis] for value in AXES[axis]]


def measure_all(axes: Sequence[str], passes: int, seconds: float, threads: int, device: str) -> list[dict]:
    """A row a point: least seconds over all passes (what else the machine does only adds), largest peak."""
    found: dict[tuple, list[dict]] = {point: [] for point in points(axes)}
    for number in range(passes):
        for point in found if number % 2 == 0 else reversed(found):
            axis, what, value = point
            setting = {**BASE, axis: value} if axis in BASE else {axis: value}
            found[point].append(measure_apart(what, setting, seconds, threads, device))
            print(f'pass {number + 1} of {passes}: {axis} {value}, {what}', file=sys.stderr)
    rows = []
    for (axis, what, value), runs in found.items():
        times, bare = ([seconds for run in runs for seconds in run[key]] for key in ('times', 'bare'))
        row = dict(axis=axis, what=what, value=value, steps=len(times), bytes=max(run['bytes'] for run in runs))
        ratio = statistics.median(mine / base for mine, base in zip(times, bare, strict=True))
        rows.append(dict(row, seconds=min(times), bare=min(bare), over_bare=ratio))
    return rows


def stored_rows(path: Path, without: Sequence[str]) -> tuple[list[dict], dict[str, dict]]:
    """Rows of the other axes, and under which setting an axis was measured, from a file of results if there is one."""
    if not path.exists() or set(AXES) <= set(without):
        return [], {}
    stored = json.loads(path.read_text())
    rows = [row for row in stored['rows'] if row['axis'] not in without]
    settings = stored.get('settings') or dict.fromkeys(AXES, stored['setting'])  # of each axis, or one of the file
    return rows, {row['axis']: settings[row['axis']] for row in rows}


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--axes', nargs='+', choices=list(AXES), default=list(AXES), help='default: all')
    parser.add_argument('--passes', type=int, default=2)
    parser.add_argument('--seconds', type=float, default=2, help='of steps, a point and pass; three at least')
    parser.add_argument('--threads', type=int, default=2)
    parser.add_argument('--device', type=usable_device, default='auto')
    parser.add_argument('--out', type=Path, help='default: benchmarks/results/growth, with _cuda on a GPU')
    parser.add_argument('--point', type=json.loads, help=argparse.SUPPRESS)
    args = parser.parse_args(argv)
    if args.point:
        if args.device == 'cpu':
            keep_freed_memory()
        print(json.dumps(measure(**args.point, threads=args.threads, device=args.device)))
        return
    out, begin = args.out or default_out('growth', args.device), time.time()
    kept, settings = stored_rows(out.with_suffix('.json'), without=args.axes)
    how = dict(passes=args.passes, seconds=args.seconds, threads=args.threads, device=args.device)
    rows = kept + measure_all(args.axes, **how)
    rows.sort(key=lambda row: list(AXES).index(row['axis']))
    settings |= dict.fromkeys(args.axes, how | dict(device=device_name(args.device), torch=torch.__version__))
    settings = {axis: settings[axis] for axis in AXES if axis in settings}
    fits = fits_of(rows)
    found = dict(base=BASE, settings=settings, took=round(time.time() - begin), rows=rows, fits=fits)
    write(out, found, table(rows, fits, settings))
    plot(rows, fits, out.with_suffix('.png'))
    print(table(rows, fits, settings))


if __name__ == '__main__':
    main()
