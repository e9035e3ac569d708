"""viewplug against mmpretrain, torchvision, lightly and kornia on the same work: views, steps, losses, box updates.

    python -m benchmarks [--only views steps losses update] [--device auto] [--threads 2] [--out PATH]

Contestants take turns (A B C, B C A, ...) after two rounds of warm-up; a ratio is the median over rounds of
viewplug's time per unit over the peer's of the same round, so above 1 viewplug is slower. Every row is reported; a
peer that is not installed too (``pip install -e '.[onedl,bench]' -c constraints.txt``). About a quarter of an hour on
two CPU cores that do nothing else. On a CPU malloc keeps freed memory for everybody, as tools/train.py has it
(``viewplug.host_memory``), so that nobody's time depends on whose blocks the kernel takes back. Writes OUT.json and
OUT.md after every contest, OUT.png at the end; sections that were not asked for stay as an earlier run left them.
"""

import argparse
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path

import torch
from mmengine.logging import MMLogger

from benchmarks.record import default_out
from benchmarks.suite import SECTIONS, report
from benchmarks.suite.contest import Setting, contests_of
from benchmarks.suite.hold import MEASURED, hold
from benchmarks.suite.plot import plot
from benchmarks.suite.progress import Progress
from viewplug.devices import usable_device
from viewplug.host_memory import keep_freed_memory

ROOT = Path(__file__).resolve().parents[1]


def main(arguments: Sequence[str] | None = None, own_process: bool = False) -> int:
    """Exit status: 1 if somebody failed, 0 also where somebody is not installed or we are slower.

    Args:
        own_process: the suite is all that runs here, so that malloc may be set up for it.
    """
    parser = argparse.ArgumentParser(
        prog='python -m benchmarks', description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--only', nargs='+', choices=SECTIONS, default=list(SECTIONS), help='sections')
    parser.add_argument('--quick', action='store_true', help='toy sizes: does it run?')
    parser.add_argument('--device', type=usable_device, choices=('cpu', 'cuda'), default='auto')
    parser.add_argument('--threads', type=int, default=2, help='of steps, losses and updates; views have one')
    parser.add_argument('--skip-memory', action='store_true', help='no peak memory (a process of its own for each)')
    parser.add_argument(
        '--out', type=Path, help='default benchmarks/results/suite, with _cuda on a GPU; work_dirs/suite_quick if quick'
    )
    args = parser.parse_args(arguments)
    if args.threads < 1:
        parser.error(f'--threads must be at least 1, got {args.threads}')
    kept = own_process and args.device == 'cpu' and keep_freed_memory()
    setting = Setting(args.device, args.threads, args.quick, kept)
    out = args.out or (ROOT / 'work_dirs/suite_quick' if args.quick else default_out('suite', args.device))
    run(args.only, setting, out, not args.skip_memory)
    print(out.with_suffix('.md').read_text())
    sections = report.read(out.with_suffix('.json'))
    entries = [e for name in args.only for contest in sections[name]['contests'] for e in contest['contestants']]
    return int(any(entry['status'].startswith('failed') for entry in entries))


def run(names: Sequence[str], setting: Setting, out: Path, with_memory: bool = True) -> None:
    """Hold all contests of the sections, and write after each.

    Args:
        names: keys of ``SECTIONS``.
        out: path without a suffix.
        with_memory: measure peak memory too.
    """
    names = [name for name in SECTIONS if name in names]
    plan = [(name, contest) for name in names for contest in contests_of(name, setting)]
    progress = Progress(plan, with_memory)
    found = report.read(out.with_suffix('.json'))
    fresh = {name: dict(setting=report.describe(setting), contests=[]) for name in names}
    for name, contest in plan:
        progress.start()
        found[name] = fresh[name]  # what an earlier run wrote stays until then
        result = hold(name, contest, setting, with_memory, progress.round_done)
        found[name]['contests'].append(result)
        sections = {key: found[key] for key in SECTIONS if key in found}
        report.write(sections, out.with_suffix('.json'))
        for row in result['rows']:
            numbers = f'{row["ratio"]:.3f}, {report.verdict(row)}' if row['status'] == MEASURED else row['status']
            print(f'    {row["ours"]} / {row["peer"]}: {numbers}', file=sys.stderr, flush=True)
    plot(sections, out.with_suffix('.png'))


if __name__ == '__main__':
    warnings.filterwarnings('ignore')
    MMLogger.get_current_instance().setLevel('ERROR')
    torch.backends.cudnn.benchmark = True
    sys.exit(main(own_process=True))
