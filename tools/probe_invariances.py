"""SimCLR's Table 3 for any checkpoint: how well probes tell from h and from g(h) what was done to an image.

python tools/probe_invariances.py WORK_DIR                          # of a run of tools/train.py
python tools/probe_invariances.py WORK_DIR --probe mlp --tasks rotation noise
python tools/probe_invariances.py WORK_DIR --data-root DIR          # images of a folder in place of the run's own

Tasks: colour or grey, four rotations, noise or none, Sobel filtered or not. The network is frozen; the probe is fitted
to training images and tried on others. The paper added rotation, noise and Sobel DURING pre-training for the last three
rows: configs/simclr/table3_*.py. Printed, and written to WORK_DIR/invariances.{json,md}.
"""

import argparse
import copy
import json
import sys
from itertools import takewhile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # a clone works without `pip install -e .`

from viewplug.run.command import output_file, run_tool


def parse_args(argv=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('work_dir', type=Path, help='work dir of a run of tools/train.py')
    parser.add_argument('--checkpoint', help='another checkpoint than the last one')
    parser.add_argument('--untrained', action='store_true', help='random weights, for comparison')
    parser.add_argument('--tasks', nargs='+', default=['color', 'rotation', 'noise', 'sobel'])
    parser.add_argument('--probe', choices=('logistic', 'mlp'), default='logistic')
    parser.add_argument('--branch', help="whose neck is g (default: the model's first branch)")
    parser.add_argument('--images', type=int, nargs=2, default=(2000, 1000), metavar=('TRAIN', 'VAL'))
    parser.add_argument('--data-root', metavar='DIR', help='a folder of images; the first half is for training probes')
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument('--out', type=Path, help='name of the results without suffix (default: WORK_DIR/invariances)')
    parser.add_argument('--traceback', action='store_true', help='show the traceback of an error in config or data')
    return parser.parse_args(argv)


def probe(args) -> list[dict]:
    import torch
    from mmengine.device import get_device

    from viewplug.evaluation.invariances import probe_invariances
    from viewplug.evaluation.trained_model import trained_model
    from viewplug.evaluation.work_dir import pretraining_of

    cfg, checkpoint = pretraining_of(args.work_dir, args.checkpoint)
    torch.manual_seed(args.seed)
    path = None if args.untrained else checkpoint
    model, _ = trained_model(cfg, path, needed=('backbone.', 'branches.', 'neck.'))
    model.to(get_device())
    train_images, images = pictures(cfg, args)
    neck = neck_of(model, args.branch)
    return probe_invariances(
        model, train_images, images, neck, tuple(args.tasks), args.probe, args.seed, lambda row: print(row, flush=True)
    )


def neck_of(model, branch: str | None):
    """g: a branch's neck of viewplug.Siamese, or mmpretrain's neck; None where there is neither."""
    branches = getattr(model, 'branches', None)
    if branches is None:
        return getattr(model, 'neck', None)
    names = list(branches.keys())
    if branch is not None and branch not in names:
        raise ValueError(f'--branch {branch}: the model has {", ".join(names)}')
    return model.necks[model.reads[branch or names[0]].neck]


def pictures(cfg, args):
    """Whole images as uint8 tensors (N, 3, H, W): to fit probes to, and to try them on."""
    import torch
    from mmengine.registry import DefaultScope

    from viewplug.config.data_root import set_data_root
    from viewplug.evaluation.image_sizes import one_size
    from viewplug.evaluation.linear_data import labelled_datasets, single_view_size
    from viewplug.registry import DATASETS

    if args.data_root:
        size = single_view_size(cfg)
        cfg = copy.deepcopy(cfg)  # its own copy() is shallow
        set_data_root(cfg, args.data_root)
        folder = cfg.train_dataloader.dataset
        loading = takewhile(lambda step: not step.type.endswith(('MultiView', 'PackInputs')), folder.pipeline)
        resize = dict(type='Resize', scale=(size, size))
        configs = [{**folder, 'pipeline': [*loading, resize, dict(type='PackInputs')]}]
    else:
        configs = labelled_datasets(cfg)
    with DefaultScope.overwrite_default_scope(cfg.get('default_scope') or 'mmpretrain'):
        datasets = [DATASETS.build({key: value for key, value in one.items() if key != 'preload'}) for one in configs]
    half = len(datasets[0]) // 2
    places = [range(half), range(half, len(datasets[0]))] if args.data_root else [range(len(one)) for one in datasets]
    found = []
    for dataset, indices, number in zip((datasets[0], datasets[-1]), places, args.images, strict=True):
        if not len(indices):
            raise ValueError(f'{args.data_root or "the labelled data"}: too few images to fit probes and to try them')
        with one_size('dataset.pipeline of the KNNHook'):
            found.append(torch.stack([dataset[index]['inputs'] for index in indices[:number]]))
    return found


def table(rows: list[dict]) -> str:
    lines = [
        '| what to predict? | commonest class | from h | from g(h) | paper: guess, h, g(h) |',
        '|---|---|---|---|---|',
    ]
    for row in rows:
        gh = f'{row["gh"]:.1f}' if 'gh' in row else ''
        paper = ' / '.join(f'{value:g}' for value in row['paper'])
        lines.append(f'| {row["title"]} | {row["guess"]:.1f} | {row["h"]:.1f} | {gh} | {paper} |')
    return '\n'.join(lines)


def run(args) -> None:
    out = args.out or args.work_dir / ('invariances_untrained' if args.untrained else 'invariances')
    if not args.work_dir.is_dir():
        raise ValueError(f'no work dir {args.work_dir.absolute()}')
    if min(args.images) < 1:
        raise ValueError(f'--images must be at least 1 each, got {args.images[0]} and {args.images[1]}')
    result = output_file(f'{out}.json')
    rows = probe(args)
    result.write_text(json.dumps(rows, indent=1) + '\n')
    out.with_name(out.name + '.md').write_text(table(rows) + '\n')
    print(table(rows))


def main(argv=None) -> int:
    return run_tool(run, parse_args, ('mmengine', 'mmcv', 'mmpretrain', 'sklearn'), argv)


if __name__ == '__main__':
    sys.exit(main())
