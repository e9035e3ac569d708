"""What a run did, or several side by side: one HTML file that needs no network.

python tools/report.py work_dirs/mocov2_hcl_r50
python tools/report.py work_dirs/moco_rcrop work_dirs/moco_ccrop --out compare.html

Shown is what lies in the work dirs, so a run that is still going, or that crashed, will do. More pictures and numbers
get in there by tools/browse_neighbours.py, tools/contrastive_test.py and tools/linear_eval.py.
"""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # a clone works without `pip install -e .`

from viewplug.run.command import run_tool


def parse_args(argv=None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('work_dirs', nargs='+', metavar='WORK_DIR', help='of runs of tools/train.py, or of mmengine')
    parser.add_argument('--out', type=Path, help='the file (default: report.html in the (first) work dir)')
    parser.add_argument('--pictures', type=int, default=6, help='of each kind and run, at most')
    parser.add_argument('--title', help='default: the name of the run')
    return parser.parse_args(argv)


def report(args: argparse.Namespace) -> None:
    """
    Raises:
        ValueError: with a sentence for the user.
    """
    from viewplug.visualization.report import render
    from viewplug.visualization.run_files import read_run

    if args.pictures < 0:
        raise ValueError(f'--pictures must be at least 0, got {args.pictures}')
    runs = [read_run(work_dir) for work_dir in args.work_dirs]
    page = render(runs, args.pictures, args.title)
    out = args.out or Path(args.work_dirs[0]) / 'report.html'
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(page, encoding='utf-8')
    print(f'{out}: {len(page.encode()) / 2**20:.2f} MB, {len(runs)} run(s)')


def main(argv=None) -> int:
    return run_tool(report, parse_args, ('mmengine',), argv)


if __name__ == '__main__':
    sys.exit(main())
