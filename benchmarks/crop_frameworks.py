"""kNN and linear accuracy of four frameworks with RandomCrop and with ContrastiveCrop, and what the runs cost.

    python benchmarks/crop_frameworks.py [--frameworks simclr moco byol simsiam --seeds 0 1 2 --epochs 16 --amp bf16]
    python benchmarks/crop_frameworks.py --data fashion_mnist scenes --epochs 200 --amp bf16         # for one GPU

--data demo, the default: configs/contrastive_crop/cifar10/{framework}_{rcrop,ccrop}.py as demos (ShapeScenes, a small
network, 32-pixel views; one learning rate for all, untuned). The other two are ContrastiveCrop's protocol of small
images, shortened to --epochs: the whole ResNet-18 at 32 pixels, batch 512, lr 0.5, views made in batch.

- fashion_mnist: configs/fashion_mnist/{framework}_{rcrop,ccrop}.py, three equal channels. Needs `apt install
  dataset-fashion-mnist`, the network, or --data-root, a folder with the four files.
- scenes: CIFAR-10's configs on 10,000 of the demo's scenes; the queue is no longer than the data set.

Boxes are renewed after each fifth of a run. kNN and tools/linear_eval.py follow. Runs that are done are not repeated,
and one that was stopped goes on from its last checkpoint: all lies in --work-dir, so several processes may share the
cells by seed or framework, and rows of other seeds or frameworks that --out holds already, with the same setting, stay
in its table.
"""

import argparse
import json
import statistics
import subprocess
import sys
import time
from pathlib import Path

import torch

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks.crop_cells import cell_config, folder, sizes  # noqa: E402
from benchmarks.record import write  # noqa: E402

CROPS = ('rcrop', 'ccrop')
EPOCHS = dict(demo=16, scenes=200, fashion_mnist=200)
LINEAR_EPOCHS = dict(demo=30, scenes=100, fashion_mnist=100)


def run_cell(framework: str, crop: str, seed: int, args: argparse.Namespace) -> dict:
    """Top-1 of kNN before and after, and of the linear classifier, in percent; minutes and images a second."""
    work_dir = folder(framework, crop, seed, args)
    usual = args.data == 'demo' and args.linear_epochs == LINEAR_EPOCHS['demo']
    result = work_dir / ('result.json' if usual else f'result_{args.linear_epochs}.json')
    if result.exists():
        row = json.loads(result.read_text())
        if row['amp'] != args.amp:
            raise SystemExit(f'{work_dir} was trained with amp={row["amp"]}; give that, or another --work-dir')
        return row
    if not finished(work_dir):
        # Not in the work dir itself, where the run writes what became of it.
        given = work_dir / 'given' / f'{framework}_{crop}.py'
        given.parent.mkdir(parents=True, exist_ok=True)
        cell_config(framework, crop, seed, args).dump(given)
        amp = ['--amp', args.amp] if args.amp else []
        call('tools/train.py', given, '--work-dir', work_dir, '--resume', *amp)
    row = dict(framework=framework, crop=crop, seed=seed, **measured(work_dir), amp=args.amp)
    row['device'] = torch.cuda.get_device_name() if torch.cuda.is_available() else 'cpu'
    if args.linear_epochs:
        call('tools/linear_eval.py', work_dir, *linear_args(args))
        row['linear'] = json.loads((work_dir / 'linear_eval.json').read_text())['top1']
    result.write_text(json.dumps(row))
    return row


def linear_args(args: argparse.Namespace) -> list[str]:
    """The demo: whole images and a learning rate for its short runs. Else ContrastiveCrop's protocol."""
    if not args.linear_epochs:
        return []
    whole, lr = (['--no-augment'], ['optim_wrapper.optimizer.lr=1.0']) if args.data == 'demo' else ([], [])
    epochs = str(args.linear_epochs)
    return [*whole, '--epochs', epochs, '--cfg-options', *lr, f'train_cfg.val_interval={epochs}']


def call(tool: str, *args) -> None:
    subprocess.run([sys.executable, tool, *map(str, args)], check=True, cwd=ROOT)


def finished(work_dir: Path) -> bool:
    record = work_dir / 'run.json'
    return record.exists() and json.loads(record.read_text())['status'] == 'finished'


def measured(work_dir: Path) -> dict:
    """Of all pieces of a run: kNN before and after, minutes (kNN and boxes included), images a second of the steps."""
    logs = sorted(work_dir.glob('*/vis_data/scalars.json'), key=lambda path: path.stat().st_mtime)
    begun = [time.mktime(time.strptime(path.parents[1].name, '%Y%m%d_%H%M%S')) for path in logs]
    seconds = sum(path.stat().st_mtime - begin for path, begin in zip(logs, begun, strict=True))
    lines = [json.loads(line) for path in logs for line in path.read_text().splitlines()]
    curve = [value for line in lines for key, value in line.items() if key.startswith('knn/top1')]
    step = statistics.median(line['time'] for line in lines if 'time' in line)
    images = json.loads((work_dir / 'run.json').read_text())['images_per_step']
    return dict(untrained=curve[0], knn=curve[-1], minutes=seconds / 60, images_per_second=images / step)


def earlier_rows(path: Path, setting: dict) -> dict[tuple[str, str, int], dict]:
    kept = json.loads(path.read_text()) if path.exists() else dict(setting=setting, rows=[])
    if kept['setting'] != setting:
        raise SystemExit(f'{path} holds rows of another setting, {kept["setting"]}; give another --out')
    return {(row['framework'], row['crop'], row['seed']): row for row in kept['rows']}


def table(rows: list[dict]) -> str:
    """Means and deviations over seeds; C less R is of the two runs with the same seed."""
    lines = [
        '| framework | kNN, R-Crop | kNN, C-Crop | C less R | linear, R-Crop | linear, C-Crop | C less R | '
        'kNN, untrained | seeds | minutes a run | images/s |',
        '|' + '---|' * 11,
    ]
    for framework in dict.fromkeys(row['framework'] for row in rows):
        mine = [row for row in rows if row['framework'] == framework]
        cells = []
        for key in ('knn', 'linear'):
            found = {crop: {r['seed']: r[key] for r in mine if r['crop'] == crop and key in r} for crop in CROPS}
            r_crop, c_crop = (found[crop] for crop in CROPS)
            cells += [spread(list(r_crop.values())), spread(list(c_crop.values()))]
            cells.append(spread([c_crop[seed] - r_crop[seed] for seed in r_crop if seed in c_crop], '+'))
        cells += [spread([row['untrained'] for row in mine]), str(len({row['seed'] for row in mine}))]
        minutes, speed = ([row[key] for row in mine if key in row] for key in ('minutes', 'images_per_second'))
        cells += [spread(minutes), f'{statistics.median(speed):.0f}' if speed else '']
        lines.append(f'| {framework} | {" | ".join(cells)} |')
    return '\n'.join(lines)


def spread(values: list[float], sign: str = '') -> str:
    if not values:
        return ''
    deviation = f' ± {statistics.stdev(values):.1f}' if len(values) > 1 else ''
    return f'{statistics.mean(values):{sign}.1f}{deviation}'


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--data', nargs='+', choices=list(EPOCHS), default=['demo'])
    parser.add_argument('--frameworks', nargs='+', default=['simclr', 'moco', 'byol', 'simsiam'])
    parser.add_argument('--seeds', type=int, nargs='+', default=[0, 1, 2])
    parser.add_argument('--epochs', type=int, help='of pre-training (default: 16 of the demo, 200 of the others)')
    parser.add_argument('--linear-epochs', type=int, help='default: 30 of the demo, 100 of the others; 0 is kNN alone')
    parser.add_argument('--images', type=int, help='to pre-train on')
    parser.add_argument('--batch', type=int, help='images of a step')
    parser.add_argument(
        '--object-scale',
        type=float,
        nargs=2,
        metavar=('SMALLEST', 'LARGEST'),
        help="side of a scene's object, of the image's (default: the demo's, 0.35 0.6)",
    )
    parser.add_argument('--data-root', type=Path, help="of Fashion-MNIST's four files")
    parser.add_argument('--threshold', type=float, default=0.1, help='of the heat map (k; the paper has 0.1)')
    parser.add_argument('--amp', choices=('bf16', 'fp16'), help='mixed precision of pre-training')
    parser.add_argument('--work-dir', type=Path, default=ROOT / 'work_dirs/crop_frameworks')
    parser.add_argument(
        '--out', type=Path, default=ROOT / 'benchmarks/results/crop_frameworks', help='and _DATA but for the demo'
    )
    args = parser.parse_args(argv)
    if args.object_scale and 'fashion_mnist' in args.data:
        parser.error('--object-scale is of scenes, and --data names fashion_mnist, whose images are what they are')
    for data in args.data:
        linear = LINEAR_EPOCHS[data] if args.linear_epochs is None else args.linear_epochs
        mine = dict(data=data, epochs=args.epochs or EPOCHS[data], linear_epochs=linear)
        fill_table(argparse.Namespace(**{**vars(args), **mine}))


def fill_table(args: argparse.Namespace) -> None:
    """All cells of one kind of data."""
    out = args.out if args.data == 'demo' else args.out.with_name(f'{args.out.name}_{args.data}')
    setting = dict(epochs=args.epochs, threshold=args.threshold, linear=' '.join(linear_args(args)), **sizes(args))
    setting['channels'] = 'RGB'  # of scenes; rows without were made when gray took them for BGR
    rows = earlier_rows(out.with_suffix('.json'), setting)
    for seed in args.seeds:
        for framework in args.frameworks:
            for crop in CROPS:
                rows[framework, crop, seed] = run_cell(framework, crop, seed, args)
                kept = dict(setting=setting, rows=list(rows.values()))
                write(out, kept, table(kept['rows']))
    print(table(list(rows.values())))


if __name__ == '__main__':
    main()
