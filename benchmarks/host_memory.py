"""What it gives a training step on a CPU that freed memory stays with the process (viewplug.host_memory).

    python benchmarks/host_memory.py [--repeats 2 --rounds 5 --threads 2]

tools/train.py does this where there is no GPU. Each step, of ADCLR (benchmarks/adclr_cost.py) and of MoCo v2
(benchmarks/step_switches.py), runs on random views in a process of its own, plain and kept by turns. A ratio is that
of the median step of a kept run to that of the plain run before it, the first WARM_UP steps left out; page faults are
the median of a step, the peak is the process's. Linux with glibc.
"""

import argparse
import json
import resource
import statistics
import subprocess
import sys
from pathlib import Path

import adclr_cost
import step_switches
import torch

from viewplug.host_memory import keep_freed_memory

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks.record import write  # noqa: E402

WARM_UP = 3
STEPS = {name: f'MoCo v2, {name}' for name in step_switches.WORK} | {'ADCLR': 'ADCLR, ViT-S/16, 2 x 224 and 8 x 96 px'}


def build(name: str):
    if name in step_switches.WORK:
        return step_switches.Step(step_switches.WORK[name], (), 'cpu')
    args = argparse.Namespace(device='cpu', batch=8, queries=10, prototypes=None, amp=False)
    return adclr_cost.Step(adclr_cost.CONFIGS[name], args)


def run_here(name: str, rounds: int) -> dict:
    """Median seconds and page faults of a step in this process, and its peak."""
    step, seconds, faults = build(name), [], []
    for _ in range(WARM_UP + rounds):
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        seconds.append(step())
        faults.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
    return dict(
        seconds=statistics.median(seconds[WARM_UP:]),
        faults=statistics.median(faults[WARM_UP:]),
        peak_mib=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    )


def run_apart(name: str, kept: bool, args: argparse.Namespace) -> dict:
    command = [sys.executable, __file__, '--run', name, '--rounds', args.rounds, '--threads', args.threads]
    command += ['--keep'] * kept
    done = subprocess.run([*map(str, command)], stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def measure(name: str, args: argparse.Namespace) -> dict:
    runs = [[run_apart(name, kept, args) for kept in (False, True)] for _ in range(args.repeats)]
    plain, kept = zip(*runs, strict=True)
    return dict(
        step=STEPS[name],
        ratios=[mine['seconds'] / base['seconds'] for base, mine in runs],
        plain={key: statistics.median(run[key] for run in plain) for key in plain[0]},
        kept={key: statistics.median(run[key] for run in kept) for key in kept[0]},
    )


def table(rows: list[dict]) -> str:
    lines = [
        '| step | time kept over plain, by pairs | page faults a step, plain | kept | peak MiB, plain | kept |',
        '|---|---|---|---|---|---|',
    ]
    for row in rows:
        ratios = ', '.join(f'{ratio:.3f}' for ratio in row['ratios'])
        values = ' | '.join(f'{row[kind][key]:,.0f}' for key in ('faults', 'peak_mib') for kind in ('plain', 'kept'))
        lines.append(f'| {row["step"]} | {ratios} | {values} |')
    return '\n'.join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--repeats', type=int, default=2)
    parser.add_argument('--rounds', type=int, default=5)
    parser.add_argument('--threads', type=int, default=2)
    parser.add_argument('--out', type=Path, default=ROOT / 'benchmarks/results/host_memory')
    parser.add_argument('--run', choices=list(STEPS), help=argparse.SUPPRESS)
    parser.add_argument('--keep', action='store_true', help=argparse.SUPPRESS)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    if args.run:
        if args.keep and not keep_freed_memory():
            raise SystemExit('host_memory: freed memory cannot be kept here (no glibc, or MALLOC_* is set)')
        print(json.dumps(run_here(args.run, args.rounds)))
        return
    rows = []
    for name in STEPS:
        rows.append(measure(name, args))
        print(table(rows[-1:]).splitlines()[-1], flush=True)
    setting = dict(repeats=args.repeats, rounds=args.rounds, threads=args.threads, torch=torch.__version__)
    write(args.out, dict(setting=setting, rows=rows), table(rows))
    print(table(rows))


if __name__ == '__main__':
    main()
