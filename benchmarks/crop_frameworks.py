"""kNN and linear accuracy of four frameworks with RandomCrop and with ContrastiveCrop, on scenes with known objects.

    python benchmarks/crop_frameworks.py [--frameworks simclr moco byol simsiam --seeds 0 1 2 --epochs 16 --amp bf16]

configs/contrastive_crop/cifar10/{framework}_{rcrop,ccrop}.py as demos (ShapeScenes, a small network, 32-pixel views;
one learning rate for all, untuned), then tools/linear_eval.py on each. Runs that are done are not repeated: their
results lie in --work-dir, so several processes may share the cells by seed or framework, and rows of other seeds or
frameworks that --out holds already, with the same setting, stay in its table.
"""

import argparse
import json
import statistics
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
CROPS = ('rcrop', 'ccrop')
LINEAR = [
    '--no-augment',
    '--epochs',
    '30',
    '--cfg-options',
    'optim_wrapper.optimizer.lr=1.0',
    'train_cfg.val_interval=30',
]


def pretrain(
    framework: str, crop: str, seed: int, epochs: int, threshold: float, amp: list[str], work_dir: Path
) -> dict:
    """Top-1 of kNN before and after, and of the linear classifier, in percent."""
    result = work_dir / 'result.json'
    if result.exists():
        return json.loads(result.read_text())
    config = f'configs/contrastive_crop/cifar10/{framework}_{crop}.py'
    options = [f'randomness.seed={seed}', 'speed.channels_last=True']
    options += ccrop_options(config, threshold, epochs) if crop == 'ccrop' else []
    train = [
        sys.executable,
        'tools/train.py',
        config,
        '--demo',
        '--epochs',
        str(epochs),
        '--work-dir',
        str(work_dir),
        *amp,
    ]
    subprocess.run([*train, '--cfg-options', *options], check=True, cwd=ROOT)
    subprocess.run([sys.executable, 'tools/linear_eval.py', str(work_dir), *LINEAR], check=True, cwd=ROOT)
    scalars = sorted(work_dir.glob('*/vis_data/scalars.json'), key=lambda path: path.stat().st_mtime)
    curve = [json.loads(line) for line in scalars[-1].read_text().splitlines()]
    curve = [line['knn/top1_k20'] for line in curve if 'knn/top1_k20' in line]
    linear = json.loads((work_dir / 'linear_eval.json').read_text())['top1']
    row = dict(framework=framework, crop=crop, seed=seed, untrained=curve[0], knn=curve[-1], linear=linear)
    row['amp'] = amp[-1] if amp else None
    result.write_text(json.dumps(row))
    return row


def ccrop_options(config: str, threshold: float, epochs: int) -> list[str]:
    """Boxes after each fifth of the run; the paper's epochs scaled to a demo would be rounded to odd places."""
    from mmengine import Config

    hooks = Config.fromfile(ROOT / config).custom_hooks
    # The demo puts its own KNNHook first and drops the config's.
    kept = [None, *(hook for hook in hooks if hook.type != 'viewplug.KNNHook')]
    place = next(i for i, hook in enumerate(kept) if hook and hook.type == 'viewplug.LocalizationHook')
    every = max(1, epochs // 5)
    return [
        f'custom_hooks.{place}.{key}={value}'
        for key, value in dict(start=every, interval=every, threshold=threshold).items()
    ]


def earlier_rows(path: Path, setting: dict) -> dict[tuple[str, str, int], dict]:
    kept = json.loads(path.read_text()) if path.exists() else dict(setting=setting, rows=[])
    if kept['setting'] != setting:
        raise SystemExit(f'{path} holds rows of another setting, {kept["setting"]}; give another --out')
    return {(row['framework'], row['crop'], row['seed']): row for row in kept['rows']}


def table(rows: list[dict]) -> str:
    lines = [
        '| framework | kNN, R-Crop | kNN, C-Crop | linear, R-Crop | linear, C-Crop | kNN, untrained | seeds |',
        '|---|---|---|---|---|---|---|',
    ]
    for framework in dict.fromkeys(row['framework'] for row in rows):
        mine = [row for row in rows if row['framework'] == framework]
        cells = [
            spread([row[key] for row in mine if row['crop'] == crop]) for key in ('knn', 'linear') for crop in CROPS
        ]
        start = spread([row['untrained'] for row in mine])
        lines.append(f'| {framework} | {" | ".join(cells)} | {start} | {len({row["seed"] for row in mine})} |')
    return '\n'.join(lines)


def spread(values: list[float]) -> str:
    if not values:
        return ''
    deviation = f' ± {statistics.stdev(values):.1f}' if len(values) > 1 else ''
    return f'{statistics.mean(values):.1f}{deviation}'


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--frameworks', nargs='+', default=['simclr', 'moco', 'byol', 'simsiam'])
    parser.add_argument('--seeds', type=int, nargs='+', default=[0, 1, 2])
    parser.add_argument('--epochs', type=int, default=16)
    parser.add_argument('--threshold', type=float, default=0.1, help='of the heat map (k; the paper has 0.1)')
    parser.add_argument('--amp', choices=('bf16', 'fp16'), help='mixed precision of pre-training')
    parser.add_argument('--work-dir', type=Path, default=ROOT / 'work_dirs/crop_frameworks')
    parser.add_argument('--out', type=Path, default=ROOT / 'benchmarks/results/crop_frameworks')
    args = parser.parse_args()
    amp = ['--amp', args.amp] if args.amp else []
    setting = dict(epochs=args.epochs, threshold=args.threshold, linear=' '.join(LINEAR))
    rows = earlier_rows(args.out.with_suffix('.json'), setting)
    for seed in args.seeds:
        for framework in args.frameworks:
            for crop in CROPS:
                work_dir = args.work_dir.absolute() / f'{framework}_{crop}_{args.epochs}_{args.threshold}_{seed}'
                rows[framework, crop, seed] = pretrain(
                    framework, crop, seed, args.epochs, args.threshold, amp, work_dir
                )
                kept = dict(setting=setting, rows=list(rows.values()))
                args.out.parent.mkdir(parents=True, exist_ok=True)
                args.out.with_suffix('.json').write_text(json.dumps(kept, indent=1) + '\n')
                args.out.with_suffix('.md').write_text(table(kept['rows']) + '\n')
    print(table(list(rows.values())))


if __name__ == '__main__':
    main()
