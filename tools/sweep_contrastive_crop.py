"""ContrastiveCrop's ablations as runs: Fig. 6 (threshold k, alpha) and Table 3 (flip, colour, blur).

python tools/sweep_contrastive_crop.py threshold alpha transforms                   # write configs and commands
python tools/sweep_contrastive_crop.py transforms --run --gpus 8                    # run them one after another
python tools/sweep_contrastive_crop.py alpha --base configs/contrastive_crop/cifar10/simclr_ccrop.py --run

Each point is a config (OUT/configs), a pre-training run and a linear evaluation; results are collected in
OUT/results.json and OUT/table.md. Call it again with --run to go on: finished points are kept, an interrupted one is
resumed. The paper's sweeps are MoCo v2 on IN-200, 100 epochs.
"""

import argparse
import json
import shlex
import subprocess
import sys
from copy import deepcopy
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # a clone works without `pip install -e .`

from viewplug.run.command import run_tool

ROOT = Path(__file__).resolve().parents[1]
THRESHOLDS = (0.0, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3)  # Fig. 6a; 0 is RandomCrop
ALPHAS = (
    0.1,
    0.2,
    0.4,
    0.6,
    0.8,
    1.0,
    1.2,
    1.5,
    2.0,
)  # Fig. 6b at k = 0.1; the figure's own values are not in the text
KINDS = dict(flip=('RandomFlip',), colour=('ColorJitter', 'RandomGrayscale'), blur=('GaussianBlur',))
# Table 3: which transformations stay, and the paper's R-Crop and C-Crop.
TRANSFORMS = (
    (('flip', 'colour', 'blur'), 63.4, 64.6),
    (('flip',), 50.4, 50.9),
    (('colour',), 60.6, 61.4),
    (('blur',), 44.9, 45.2),
    ((), 45.5, 45.9),
)


def points(sweep: str, base) -> list[dict]:
    """The runs of a sweep: name, config, the paper's top-1 on IN-200 (None where only a plot shows it)."""
    if sweep == 'threshold':
        return [
            dict(name=f'threshold_{k:g}', paper=None, cfg=random_crop(base) if k == 0 else changed(base, 1.0, k))
            for k in THRESHOLDS
        ]
    if sweep == 'alpha':
        return [dict(name=f'alpha_{alpha:g}', paper=None, cfg=changed(base, alpha, 0.1)) for alpha in ALPHAS]
    found = []
    for kept, *paper in TRANSFORMS:
        name = '_'.join(kept) or 'none'
        for crop, cfg, top1 in zip(('rcrop', 'ccrop'), (random_crop(base), base), paper, strict=True):
            found.append(dict(name=f'{name}_{crop}', paper=top1, cfg=only(cfg, kept)))
    return found


def changed(base, alpha: float, threshold: float):
    """``base`` with another alpha and threshold; alpha 1 is localisation alone."""
    cfg = deepcopy(base)
    for view in views(cfg):
        crop(view).alpha = alpha
    for hook in cfg.custom_hooks:
        if hook.type == 'viewplug.LocalizationHook':
            hook.threshold = threshold
    return cfg


def random_crop(base):
    """``base`` without localisation and suppression."""
    cfg = deepcopy(base)
    for view in views(cfg):
        step = crop(view)
        step.type = 'viewplug.RandomResizedCrop'
        for key in ('alpha', 'localize', 'center', 'store'):
            step.pop(key, None)
    cfg.custom_hooks = [hook for hook in cfg.custom_hooks if hook.type != 'viewplug.LocalizationHook']
    return cfg


def only(base, kept):
    """``base`` with the transformations of ``kept`` alone."""
    cfg = deepcopy(base)
    gone = [name for kind, names in KINDS.items() if kind not in kept for name in names]
    for view in views(cfg):
        view[:] = [step for step in view if not any(name in names_in(step) for name in gone)]
    return cfg


def views(cfg) -> list:
    steps = [step for step in cfg.train_dataloader.dataset.pipeline if step.type.endswith('MultiView')]
    return steps[0].transforms


def crop(view):
    return next(step for step in view if step.type.endswith(('ContrastiveCrop', 'RandomResizedCrop')))


def names_in(step) -> set[str]:
    """Names of a transform and of those that it applies."""
    return {step.type.split('.')[-1]}.union(*(names_in(inner) for inner in step.get('transforms', ())))


def commands(name: str, args) -> list[list[str]]:
    """Pre-training of OUT/configs/NAME.py in OUT/NAME, then linear evaluation."""
    config, work_dir = str(args.out / f'configs/{name}.py'), str(args.out / name)
    if args.gpus == 1:
        train = [sys.executable, str(ROOT / 'tools/train.py'), config]
    else:  # with this Python, not the first one of PATH
        train = ['env', f'PYTHON={sys.executable}', str(ROOT / 'tools/dist_train.sh'), config, str(args.gpus)]
    train += ['--work-dir', work_dir, '--resume', *shlex.split(args.train_args)]
    linear = [str(ROOT / 'tools/linear_eval.py'), work_dir, '--resume', *shlex.split(args.linear_args)]
    if args.gpus == 1:
        return [train, [sys.executable, *linear]]
    torchrun = [sys.executable, '-m', 'torch.distributed.run', f'--nproc_per_node={args.gpus}']
    return [train, [*torchrun, *linear, '--launcher', 'pytorch']]


def collect(out: Path, planned: list[dict]) -> list[dict]:
    """Write results.json and table.md of all points, finished or not."""
    rows = []
    for point in planned:
        file = out / point['name'] / 'linear_eval.json'
        result = json.loads(file.read_text()) if file.exists() else {}
        rows.append(dict(sweep=point['sweep'], name=point['name'], paper=point['paper'], top1=result.get('top1')))
        rows[-1].update({key: result[key] for key in ('top5', 'epochs', 'seed') if key in result})
    (out / 'results.json').write_text(json.dumps(rows, indent=1) + '\n')
    lines = ['| sweep | run | paper, IN-200 | top-1 |', '|---|---|---|---|']
    for row in rows:
        paper, top1 = ('' if row[key] is None else f'{row[key]:.1f}' for key in ('paper', 'top1'))
        lines.append(f'| {row["sweep"]} | {row["name"]} | {paper} | {top1} |')
    (out / 'table.md').write_text('\n'.join(lines) + '\n')
    return rows


def plan(args) -> list[dict]:
    from mmengine import Config

    base = Config.fromfile(args.base)
    if not any(hook.type == 'viewplug.LocalizationHook' for hook in base.get('custom_hooks', [])):
        raise ValueError(
            f'--base {args.base}: not a ContrastiveCrop config (no viewplug.LocalizationHook in custom_hooks)'
        )
    (args.out / 'configs').mkdir(parents=True, exist_ok=True)
    planned = [dict(point, sweep=sweep) for sweep in dict.fromkeys(args.sweeps) for point in points(sweep, base)]
    lines = []
    for point in planned:
        cfg = point.pop('cfg')
        cfg.work_dir = str(args.out / point['name'])
        file = args.out / f'configs/{point["name"]}.py'
        before = Config.fromfile(file) if file.exists() else cfg
        before.work_dir = cfg.work_dir  # may have been written as another path to the same
        if Path(cfg.work_dir).exists() and before.pretty_text != cfg.pretty_text:
            raise ValueError(
                f'{cfg.work_dir} is a run of another config than --base {args.base} makes now: give another --out, or '
                f'remove {args.out} to begin anew'
            )
        cfg.dump(file)
        lines += [shlex.join(command) for command in commands(point['name'], args)]
    (args.out / 'commands.sh').write_text('set -e\n' + '\n'.join(lines) + '\n')
    return planned


def parse_args(argv=None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('sweeps', nargs='+', choices=('threshold', 'alpha', 'transforms'))
    parser.add_argument(
        '--base', default=ROOT / 'configs/contrastive_crop/in200/mocov2_ccrop.py', help='a C-Crop config'
    )
    parser.add_argument('--out', type=Path, default=Path('work_dirs/sweep_contrastive_crop'))
    parser.add_argument('--run', action='store_true', help='run what is not finished, one after another')
    parser.add_argument('--gpus', type=int, default=1)
    parser.add_argument('--train-args', default='', help="more for tools/train.py, e.g. '--epochs 20 --amp'")
    parser.add_argument('--linear-args', default='', help="more for tools/linear_eval.py, e.g. '--epochs 10'")
    return parser.parse_args(argv)


def run(args: argparse.Namespace) -> int:
    if args.gpus < 1:
        raise ValueError(f'--gpus must be at least 1, got {args.gpus}')
    planned = plan(args)
    failed = []
    for point in planned if args.run else ():
        if (args.out / point['name'] / 'linear_eval.json').exists():
            continue
        print(f'Run {point["name"]}', flush=True)
        if any(subprocess.run(command).returncode for command in commands(point['name'], args)):
            failed.append(point['name'])  # the others may still go well
        collect(args.out, planned)
    rows = collect(args.out, planned)
    done = sum(row['top1'] is not None for row in rows)
    print(
        (args.out / 'table.md').read_text() + f'{done} of {len(rows)} runs finished; commands: {args.out}/commands.sh'
    )
    if failed:
        print(f'error: failed: {", ".join(failed)}', file=sys.stderr)
    return int(bool(failed))


def main(argv=None) -> int:
    return run_tool(run, parse_args, ('mmengine', 'mmcv', 'mmpretrain'), argv)


if __name__ == '__main__':
    sys.exit(main())
