"""kNN accuracy before and after CPC v1, CPC v2, rotation and jigsaw, as demos on ShapeScenes.

    python benchmarks/pretext_knn.py [--systems cpc_v1 cpc_v2 rotation jigsaw --seeds 0 --epochs 4 --images 1600]

The configs of SYSTEMS with --demo, shortened by --images and --batch-size. Runs that are done are not repeated: their
results lie in --work-dir, so several processes may share the cells; a last call with all of them writes the table.
"""

import argparse
import json
import statistics
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks.record import write  # noqa: E402

SYSTEMS = {
    'cpc_v1': 'configs/cpc/cpc_v1_r101.py',
    'cpc_v2': 'configs/cpc/cpc_v2_r50.py',
    'rotation': 'configs/pretext/rotation_r50.py',
    'jigsaw': 'configs/pretext/jigsaw_r50.py',
    'relative_position': 'configs/pretext/relative_position_r50.py',
}


def pretrain(system: str, seed: int, args: argparse.Namespace) -> dict:
    """Top-1 of kNN before and after in percent, and the loss at both ends of training."""
    work_dir = args.work_dir.absolute() / f'{system}_{args.epochs}_{args.images}_{args.batch_size}_{seed}'
    result = work_dir / 'result.json'
    if result.exists():
        return json.loads(result.read_text())
    options = [
        f'randomness.seed={seed}',
        f'train_dataloader.dataset.num_images={args.images}',
        f'train_dataloader.batch_size={args.batch_size}',
        f'custom_hooks.0.interval={args.epochs}',
    ]
    command = [sys.executable, 'tools/train.py', SYSTEMS[system], '--demo', '--epochs', str(args.epochs)]
    start = time.perf_counter()
    subprocess.run([*command, '--work-dir', str(work_dir), '--cfg-options', *options], check=True, cwd=ROOT)
    scalars = sorted(work_dir.glob('*/vis_data/scalars.json'), key=lambda path: path.stat().st_mtime)
    lines = [json.loads(line) for line in scalars[-1].read_text().splitlines()]
    knn = [line['knn/top1_k20'] for line in lines if 'knn/top1_k20' in line]
    loss = [line['loss'] for line in lines if 'loss' in line]
    row = dict(system=system, seed=seed, untrained=knn[0], trained=knn[-1], first_loss=loss[0], last_loss=loss[-1])
    row |= dict(steps=args.epochs * (args.images // args.batch_size), minutes=(time.perf_counter() - start) / 60)
    result.write_text(json.dumps(row))
    return row


def table(rows: list[dict]) -> str:
    lines = [
        '| system | kNN, untrained | kNN, trained | gain | loss | steps | seeds |',
        '|---|---|---|---|---|---|---|',
    ]
    for system in dict.fromkeys(row['system'] for row in rows):
        mine = [row for row in rows if row['system'] == system]
        before, after = ([row[key] for row in mine] for key in ('untrained', 'trained'))
        gain = [b - a for a, b in zip(before, after, strict=True)]
        losses = (statistics.mean(row[key] for row in mine) for key in ('first_loss', 'last_loss'))
        cells = [
            spread(before),
            spread(after),
            f'{statistics.mean(gain):+.1f}',
            ' -> '.join(f'{x:.2f}' for x in losses),
        ]
        lines.append(f'| {system} | {" | ".join(cells)} | {mine[0]["steps"]} | {len(mine)} |')
    return '\n'.join(lines)


def spread(values: list[float]) -> str:
    deviation = f' ± {statistics.stdev(values):.1f}' if len(values) > 1 else ''
    return f'{statistics.mean(values):.1f}{deviation}'


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--systems', nargs='+', choices=SYSTEMS, default=['cpc_v1', 'cpc_v2', 'rotation', 'jigsaw'])
    parser.add_argument('--seeds', type=int, nargs='+', default=[0])
    parser.add_argument('--epochs', type=int, default=4)
    parser.add_argument('--images', type=int, default=1600)
    parser.add_argument('--batch-size', type=int, default=32)
    parser.add_argument('--work-dir', type=Path, default=ROOT / 'work_dirs/pretext_knn')
    parser.add_argument('--out', type=Path, default=ROOT / 'benchmarks/results/pretext_knn')
    args = parser.parse_args()
    rows = []
    for seed in args.seeds:
        for system in args.systems:
            rows.append(pretrain(system, seed, args))
            setting = dict(epochs=args.epochs, images=args.images, batch_size=args.batch_size)
            write(args.out, dict(setting=setting, rows=rows), table(rows))
    print(table(rows))


if __name__ == '__main__':
    main()
