"""kNN accuracy of DINO with and without ADCLR's queries, on scenes with known objects.

    python benchmarks/adclr_knn.py [--methods dino adclr --seeds 0 1 2 --epochs 8]

configs/adclr/{dino,adclr}_vit_small_in1k.py as demos (ShapeScenes, a ViT of four blocks on 32-pixel views; untuned, the
same settings for both). Runs that are done are not repeated: their results lie in --work-dir, so several processes may
share the cells by --seeds or --methods; the last one to end, or another call, writes the table of all. A result is
that of its --options only.
"""

import argparse
import hashlib
import json
import statistics
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks.record import write  # noqa: E402


def pretrain(method: str, seed: int, args: argparse.Namespace) -> dict | None:
    """Top-1 of kNN before and after, in percent; None where it is not done and ``--collect`` only looks."""
    work_dir = folder_of(method, seed, args)
    result = work_dir / 'result.json'
    if result.exists():
        row = json.loads(result.read_text())
        # Older results do not say their options, so that they may be of any.
        if row.pop('options', None) == args.options:
            return row
    if args.collect:
        return None
    config = f'configs/adclr/{method}_vit_small_in1k.py'
    train = [sys.executable, 'tools/train.py', config, '--demo', '--epochs', str(args.epochs)]
    options = [f'randomness.seed={seed}', *args.options]
    subprocess.run([*train, '--work-dir', str(work_dir), '--cfg-options', *options], check=True, cwd=ROOT)
    logs = sorted(work_dir.glob('*/vis_data/scalars.json'), key=lambda path: path.stat().st_mtime)
    lines = [json.loads(line) for line in logs[-1].read_text().splitlines()]
    knn = [line['knn/top1_k20'] for line in lines if 'knn/top1_k20' in line]
    last = {
        key: value for line in lines for key, value in line.items() if key.startswith(('cls.', 'query.', 'health/'))
    }
    row = dict(method=method, seed=seed, untrained=knn[0], knn=knn[-1], last=last)
    result.write_text(json.dumps(dict(row, options=args.options)))
    return row


def folder_of(method: str, seed: int, args: argparse.Namespace) -> Path:
    """One for each set of options, so that several can be compared without repeating any."""
    name = f'{method}_{args.epochs}_{seed}'
    if args.options:
        name += f'_{hashlib.sha256(json.dumps(args.options).encode()).hexdigest()[:8]}'
    return args.work_dir.absolute() / name


def table(rows: list[dict]) -> str:
    lines = ['| method | kNN | kNN, untrained | effective rank of CLS | seeds |', '|---|---|---|---|---|']
    for method in dict.fromkeys(row['method'] for row in rows):
        mine = [row for row in rows if row['method'] == method]
        ranks = [row['last']['health/cls/effective_rank'] for row in mine if 'health/cls/effective_rank' in row['last']]
        cells = [spread([row[key] for row in mine]) for key in ('knn', 'untrained')]
        lines.append(f'| {method} | {" | ".join(cells)} | {spread(ranks)} | {len(mine)} |')
    return '\n'.join(lines)


def spread(values: list[float]) -> str:
    if not values:
        return ''
    deviation = f' ± {statistics.stdev(values):.1f}' if len(values) > 1 else ''
    return f'{statistics.mean(values):.1f}{deviation}'


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--methods', nargs='+', default=['dino', 'adclr'])
    parser.add_argument('--seeds', type=int, nargs='+', default=[0, 1, 2])
    parser.add_argument('--epochs', type=int, default=8)
    parser.add_argument('--collect', action='store_true', help='run nothing, write the table of what is done')
    parser.add_argument('--options', nargs='*', default=[], metavar='KEY=VALUE', help="tools/train.py's --cfg-options")
    parser.add_argument('--work-dir', type=Path, default=ROOT / 'work_dirs/adclr_knn')
    parser.add_argument('--out', type=Path, default=ROOT / 'benchmarks/results/adclr_knn')
    args = parser.parse_args(argv)
    rows = []
    for seed in args.seeds:
        for method in args.methods:
            row = pretrain(method, seed, args)
            rows += [row] if row else []
            setting = dict(epochs=args.epochs, options=args.options)
            write(args.out, dict(setting=setting, rows=rows), table(rows))
    print(table(rows))


if __name__ == '__main__':
    main()
