"""Train a config through mmengine's Runner: viewplug's own, or one of mmpretrain or mmdet.

python tools/train.py configs/mocov2_r50.py --data-root /path/to/images
python tools/train.py configs/mocov2_hcl_r50.py --stages      # MoCo v2, then HCL from its weights
python tools/train.py configs/mocov2_hcl_r50.py --demo        # minutes on a CPU, no data needed
tools/dist_train.sh configs/mocov2_r50.py 8                   # several GPUs
"""

import argparse
import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # a clone works without `pip install -e .`

from viewplug.requirements import require
from viewplug.run.command import leave, was_interrupted


def parse_args():
    from viewplug.config.option_values import OptionAction

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('config', help='a config file')
    parser.add_argument(
        '--work-dir',
        help='where logs, pictures and checkpoints go (default: that of the config, or work_dirs/<config name>)',
    )
    parser.add_argument(
        '--resume',
        nargs='?',
        const='auto',
        metavar='PATH',
        help='go on from a checkpoint; without PATH from the latest of the work dir, if there is one',
    )
    parser.add_argument(
        '--amp', nargs='?', const='bf16', choices=('bf16', 'fp16'), help='mixed precision (default bf16)'
    )
    parser.add_argument(
        '--data-root', metavar='DIR', help='train on the images below DIR, nested or not, no labels needed'
    )
    parser.add_argument('--epochs', type=int, help='length of the run; schedules are scaled with it')
    parser.add_argument(
        '--init',
        metavar='CKPT',
        help="start from a checkpoint's backbone, whoever wrote it (a pre-training config: from all that fits)",
    )
    parser.add_argument('--stages', action='store_true', help='run the stage before (config field stage1_config) first')
    parser.add_argument(
        '--demo', action='store_true', help='embedded data set and a CPU-sized model, for any pre-training config'
    )
    parser.add_argument(
        '--cfg-options', nargs='+', action=OptionAction, default={}, help='KEY=VALUE overrides, last word'
    )
    parser.add_argument('--launcher', choices=('none', 'pytorch', 'slurm', 'mpi'), default='none')
    parser.add_argument('--traceback', action='store_true', help='show the traceback of an error in config or data')
    parser.add_argument('--local_rank', '--local-rank', type=int, default=0, help=argparse.SUPPRESS)
    args = parser.parse_args()
    os.environ.setdefault('LOCAL_RANK', str(args.local_rank))
    return args


def main() -> int:
    try:
        require('mmengine', 'mmcv', 'mmpretrain')
    except ImportError as error:
        print(f'error: {error}', file=sys.stderr)
        return 2
    args = parse_args()
    from viewplug.run.launch import UserError, train

    try:
        train(args)
    except BaseException as error:
        if args.traceback:
            raise
        if was_interrupted(error):
            print('interrupted; the same command with --resume goes on from the last checkpoint', file=sys.stderr)
            return 130
        if isinstance(error, SystemExit):
            return error.code
        if not isinstance(error, UserError):
            raise
        print(f'error: {error}', file=sys.stderr)
        return 2
    return 0


if __name__ == '__main__':
    leave(main())
