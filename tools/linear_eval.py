"""The linear accuracy of a pre-training run: a classifier on its frozen backbone, with the labelled data it knows.

python tools/linear_eval.py work_dirs/contrastive_crop/cifar10/simclr_ccrop
python tools/linear_eval.py WORK_DIR --epochs 10 --cfg-options optim_wrapper.optimizer.lr=1.0

The config and the last checkpoint of WORK_DIR say all else. The result is printed and written to
WORK_DIR/linear_eval.json; logs and the classifier lie in WORK_DIR/linear.
"""

import argparse
import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # a clone works without `pip install -e .`

from viewplug.run.command import leave, output_file, run_tool

ROOT = Path(__file__).resolve().parents[1]
SMALL = 128  # pixels: below it the protocol of small images


def parse_args(argv=None):
    from viewplug.config.option_values import OptionAction

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('work_dir', help='work dir of a run of tools/train.py')
    parser.add_argument('--checkpoint', help='another checkpoint than the last one')
    parser.add_argument(
        '--protocol',
        help='small (lr 10, batch 512), imagenet (lr 30, batch 256) or a config like configs/_base_/linear_small.py; '
        f'default: small for views below {SMALL} pixels',
    )
    parser.add_argument('--epochs', type=int, help='length of the run; the schedule is scaled with it')
    parser.add_argument('--prefix', default='backbone.', help="'target.backbone.' is the momentum copy")
    parser.add_argument('--no-augment', action='store_true', help='train on whole images, without crops and flips')
    parser.add_argument('--out', help='result file (default: WORK_DIR/linear_eval.json)')
    parser.add_argument('--resume', action='store_true', help='go on with an interrupted evaluation')
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument('--launcher', choices=('none', 'pytorch', 'slurm', 'mpi'), default='none')
    parser.add_argument('--traceback', action='store_true', help='show the traceback of an error in config or data')
    parser.add_argument(
        '--cfg-options', nargs='+', action=OptionAction, default={}, help='KEY=VALUE overrides, last word'
    )
    parser.add_argument('--local_rank', '--local-rank', type=int, default=0, help=argparse.SUPPRESS)
    args = parser.parse_args(argv)
    os.environ.setdefault('LOCAL_RANK', str(args.local_rank))
    return args


def evaluate(args) -> dict:
    from mmengine import Config

    from viewplug.config.options import merge_options
    from viewplug.evaluation.linear import linear_config, run_linear
    from viewplug.evaluation.linear_data import single_view_size
    from viewplug.evaluation.resumed_evaluation import check_resumed
    from viewplug.evaluation.work_dir import pretraining_of

    pretraining, checkpoint = pretraining_of(args.work_dir, args.checkpoint)
    name = args.protocol or ('small' if single_view_size(pretraining) < SMALL else 'imagenet')
    path = ROOT / f'configs/_base_/linear_{name}.py' if name in ('small', 'imagenet') else Path(name)
    if not path.is_file():
        raise ValueError(f'--protocol {name}: no such file; give small, imagenet or a config')
    world_size = int(os.environ.get('WORLD_SIZE', 1)) if args.launcher != 'none' else 1
    protocol = Config.fromfile(path)
    cfg = linear_config(
        pretraining,
        checkpoint,
        protocol,
        args.prefix,
        not args.no_augment,
        args.epochs,
        world_size,
        args.cfg_options,
    )
    cfg.work_dir = str(Path(args.work_dir) / 'linear')
    cfg.launcher = args.launcher
    cfg.randomness = dict(seed=args.seed)
    cfg.resume = args.resume
    merge_options(cfg, args.cfg_options)
    if args.resume:
        check_resumed(cfg)
    out = output_file(args.out or Path(args.work_dir) / 'linear_eval.json')
    result = run_linear(cfg, out, protocol=name, augment=not args.no_augment)
    if int(os.environ.get('RANK', 0)) == 0:
        top5 = f', top-5 {result["top5"]:.2f}' if 'top5' in result else ''
        print(f'linear top-1 {result["top1"]:.2f}{top5}; written to {out}')
    return result


def main(argv=None) -> int:
    return run_tool(evaluate, parse_args, ('mmengine', 'mmcv', 'mmpretrain'), argv)


if __name__ == '__main__':
    leave(main())
