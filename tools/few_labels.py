"""Accuracy of a pre-trained network with few labels, next to the same network trained from scratch on them.

python tools/few_labels.py WORK_DIR                                # 1 5 10 50 100 %, linear, finetune, supervised
python tools/few_labels.py WORK_DIR --fractions 1 10 --modes fixed --seeds 0 1 2
python tools/few_labels.py WORK_DIR --steps 100 --batch-size 64    # a demo run, on a CPU

WORK_DIR is that of any pre-training run; its config and last checkpoint say all else. The labelled images are drawn
class by class and by seed, and stored: WORK_DIR/few_labels/subsets/seed0_1pct.txt (a line is position and label).
Modes: 'linear' on the frozen backbone, 'fixed' (a deep classifier on its frozen maps, CPC v2's), 'finetune' (all
weights), 'supervised' (all weights, from random ones). Each cell is a file in WORK_DIR/few_labels, which is taken again
where checkpoint, labels and options are the ones that made it (wherever the data lie), and with a warning where it does
not say; table, JSON and curve over the fraction of labels are written after each: WORK_DIR/few_labels.{md,json,png}.
"""

import argparse
import json
import os
import sys
from pathlib import Path
from statistics import mean

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # a clone works without `pip install -e .`

from viewplug.run.command import leave, output_file, run_tool

ROOT = Path(__file__).resolve().parents[1]
SMALL = 128  # pixels: below it the protocols of small images
OPTIONS = ('prefix', 'steps', 'batch_size', 'no_augment', 'blocks', 'channels', 'cfg_options')
KEPT = ('mode', 'percent', 'seed', 'top1', 'top5', 'train_images', 'val_images', 'num_classes', 'epochs', 'lr')


def parse_args(argv=None):
    from viewplug.config.option_values import OptionAction

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('work_dir', type=Path, help='work dir of a run of tools/train.py')
    parser.add_argument('--checkpoint', help='another checkpoint than the last one')
    parser.add_argument('--fractions', type=float, nargs='+', default=[1, 5, 10, 50, 100], help='percent of the labels')
    parser.add_argument('--modes', nargs='+', default=['linear', 'finetune', 'supervised'])
    parser.add_argument('--seeds', type=int, nargs='+', default=[0], help='of the drawn images and of training')
    parser.add_argument(
        '--protocols',
        choices=('small', 'imagenet'),
        help=f'configs/_base_/linear_*.py and finetune_*.py; default: small for views below {SMALL} pixels',
    )
    parser.add_argument('--steps', type=int, help="length of each training, in place of the protocols' epochs")
    parser.add_argument(
        '--batch-size', type=int, help="in place of the protocols'; the learning rate is scaled with it"
    )
    parser.add_argument('--blocks', type=int, default=11, help="residual blocks of mode 'fixed'")
    parser.add_argument('--channels', type=int, default=512, help='of these blocks')
    parser.add_argument('--prefix', default='backbone.', help="'target.backbone.' is the momentum copy")
    parser.add_argument('--no-augment', action='store_true', help='train on whole images, without crops and flips')
    parser.add_argument('--out', type=Path, help='name of the results without suffix (default: WORK_DIR/few_labels)')
    parser.add_argument('--launcher', choices=('none', 'pytorch', 'slurm', 'mpi'), default='none')
    parser.add_argument('--traceback', action='store_true', help='show the traceback of an error in config or data')
    parser.add_argument(
        '--cfg-options', nargs='+', action=OptionAction, default={}, help='KEY=VALUE overrides, last word'
    )
    parser.add_argument('--local_rank', '--local-rank', type=int, default=0, help=argparse.SUPPRESS)
    args = parser.parse_args(argv)
    os.environ.setdefault('LOCAL_RANK', str(args.local_rank))
    return args


def evaluate(args) -> list[dict]:
    from mmengine.registry import DefaultScope

    from viewplug.evaluation.few_labels import MODES, ingredients, labels_of, used_in
    from viewplug.evaluation.label_subset import stored_subset
    from viewplug.evaluation.linear_data import found_where_they_were, labelled_datasets
    from viewplug.evaluation.provenance import digest_of, stored_result
    from viewplug.evaluation.work_dir import pretraining_of

    unknown = [mode for mode in args.modes if mode not in MODES]
    if unknown:
        raise ValueError(f'--modes are some of {", ".join(MODES)}, got {", ".join(unknown)}')
    for name in ('steps', 'batch_size', 'blocks', 'channels'):
        if (value := getattr(args, name)) is not None and value < 1:
            raise ValueError(f'--{name.replace("_", "-")} must be at least 1, got {value}')
    pretraining, checkpoint = pretraining_of(args.work_dir, args.checkpoint)
    protocols = [protocol_of(args, pretraining, kind) for kind in ('linear', 'finetune')]
    scope = pretraining.get('default_scope') or 'mmpretrain'
    with DefaultScope.overwrite_default_scope(scope), found_where_they_were():  # for names without a prefix
        labels = labels_of(labelled_datasets(pretraining, args.cfg_options)[0])
        made_with = ingredients(pretraining, checkpoint, labels, protocols, args.cfg_options)
    made_with |= {key: getattr(args, key) for key in OPTIONS}
    output_file(f'{args.out or args.work_dir / "few_labels"}.json')
    folder, rows = args.work_dir / 'few_labels', []
    for seed in dict.fromkeys(args.seeds):  # once each, however often they are asked for
        for percent in dict.fromkeys(args.fractions):
            indices = stored_subset(folder / f'subsets/seed{seed}_{percent:g}pct.txt', labels, percent, seed)
            for mode in dict.fromkeys(args.modes):
                file = folder / f'{mode}_{percent:g}pct_seed{seed}.json'
                mine = used_in(mode, made_with) | dict(subset=digest_of(indices))
                row, line = stored_result(file, mine)
                if line and int(os.environ.get('RANK', 0)) == 0:
                    print(line)
                rows.append(row or run_cell(args, pretraining, checkpoint, mode, percent, seed, indices, file, mine))
                if int(os.environ.get('RANK', 0)) == 0:
                    report(args, rows)
    return rows


def protocol_of(args, pretraining, kind: str) -> Path:
    from viewplug.evaluation.linear_data import single_view_size

    size = args.protocols or ('small' if single_view_size(pretraining) < SMALL else 'imagenet')
    return ROOT / f'configs/_base_/{kind}_{size}.py'


def run_cell(
    args, pretraining, checkpoint, mode: str, percent: float, seed: int, indices: list[int], file: Path, made_with: dict
) -> dict:
    from mmengine import Config

    from viewplug.config.options import merge_options
    from viewplug.evaluation.few_labels import few_label_config
    from viewplug.evaluation.linear import run_linear

    frozen = mode in ('linear', 'fixed')
    protocol = Config.fromfile(protocol_of(args, pretraining, 'linear' if mode == 'linear' else 'finetune'))
    if args.batch_size:
        protocol.optim_wrapper.optimizer.lr *= args.batch_size / protocol.batch_size
        protocol.batch_size = args.batch_size
    cfg = few_label_config(
        mode,
        pretraining,
        checkpoint,
        protocol,
        indices,
        steps=args.steps,
        blocks=args.blocks,
        channels=args.channels,
        prefix=args.prefix,
        augment=not args.no_augment,
        epochs=protocol.get('epochs_below_10_percent') if percent < 10 else None,
        world_size=int(os.environ.get('WORLD_SIZE', 1)) if args.launcher != 'none' else 1,
        options=args.cfg_options,
    )
    cfg.work_dir = str(args.work_dir / f'few_labels/runs/{file.stem}')
    cfg.launcher = args.launcher
    cfg.randomness = dict(seed=seed)
    cfg.default_hooks.checkpoint = dict(type='CheckpointHook', interval=cfg.train_cfg.max_epochs, max_keep_ckpts=1)
    merge_options(cfg, args.cfg_options)
    return run_linear(cfg, file, mode=mode, percent=percent, frozen=frozen, steps=args.steps, made_with=made_with)


def report(args, rows: list[dict]) -> str:
    """Write JSON, table and curve of the cells so far."""
    out = args.out or args.work_dir / 'few_labels'
    kept = [{key: row[key] for key in KEPT if key in row} for row in rows]
    out.with_name(out.name + '.json').write_text(json.dumps(kept, indent=1) + '\n')
    text = table(kept)
    out.with_name(out.name + '.md').write_text(text + '\n')
    plot(kept, out.with_name(out.name + '.png'))
    return text


def table(rows: list[dict]) -> str:
    """Top-1 / top-5, in percent, means over seeds."""
    percents = sorted({row['percent'] for row in rows})
    lines = [
        f'| top-1 / top-5 | {" | ".join(f"{percent:g} %" for percent in percents)} |',
        '|---' * (len(percents) + 1) + '|',
    ]
    for mode in dict.fromkeys(row['mode'] for row in rows):
        cells = []
        for percent in percents:
            mine = [row for row in rows if (row['mode'], row['percent']) == (mode, percent)]
            keys = [key for key in ('top1', 'top5') if mine and key in mine[0]]
            cells.append(' / '.join(f'{mean(row[key] for row in mine):.1f}' for key in keys))
        lines.append(f'| {mode} | {" | ".join(cells)} |')
    images = {row['percent']: row['train_images'] for row in rows}
    lines += ['', 'Labelled images: ' + ', '.join(f'{images[percent]} ({percent:g} %)' for percent in percents) + '.']
    return '\n'.join(lines)


def plot(rows: list[dict], path: Path) -> None:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    keys = [key for key in ('top1', 'top5') if all(key in row for row in rows)]
    figure = Figure(figsize=(5.2 * len(keys), 4), dpi=110, layout='constrained')
    FigureCanvasAgg(figure)
    percents = sorted({row['percent'] for row in rows})
    for place, key in enumerate(keys):
        axes = figure.add_subplot(1, len(keys), place + 1)
        for mode in dict.fromkeys(row['mode'] for row in rows):
            curve = {p: [r[key] for r in rows if (r['mode'], r['percent']) == (mode, p)] for p in percents}
            curve = {percent: mean(values) for percent, values in curve.items() if values}
            style = '--' if mode == 'supervised' else '-'
            label = 'supervised, from scratch' if mode == 'supervised' else mode
            axes.plot(list(curve), list(curve.values()), style, marker='o', markersize=4, label=label)
        axes.set_xscale('log')
        axes.set_xticks(percents, [f'{percent:g}' for percent in percents])
        axes.set_xticks([], minor=True)
        axes.set(xlabel='labels, percent', ylabel=f'{key.replace("top", "top-")}, percent')
        axes.grid(alpha=0.3)
        axes.legend()
    figure.savefig(path)


def run(args) -> None:
    rows = evaluate(args)
    if int(os.environ.get('RANK', 0)) == 0:
        print(report(args, rows))


def main(argv=None) -> int:
    return run_tool(run, parse_args, ('mmengine', 'mmcv', 'mmpretrain'), argv)


if __name__ == '__main__':
    leave(main())
