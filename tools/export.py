"""The backbone of a checkpoint alone, as another library names and stores it, with a card of where it comes from.

python tools/export.py work_dirs/mocov2_r50/epoch_200.pth r50.pth --format mmdet
python tools/export.py CKPT r50.pkl --format detectron2
python tools/export.py CKPT vit.safetensors --format safetensors --momentum
python tools/export.py CKPT resim.pth --format mmdet --keep resim      # with ReSim-FPN's pyramid

CKPT may be a run of viewplug or mmpretrain, or a file of MoCo, DINO, timm, torchvision or detectron2. The card (config,
commit, epochs, data, hashes, how to load) lies beside OUT as OUT.json, and inside it where the format has room.
"""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # a clone works without `pip install -e .`

from viewplug.requirements import require


def parse_args():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('checkpoint')
    parser.add_argument('out')
    parser.add_argument(
        '--format', required=True, choices=('mmdet', 'timm', 'torchvision', 'detectron2', 'safetensors')
    )
    parser.add_argument('--momentum', action='store_true', help='the momentum encoder (target, teacher, key encoder)')
    parser.add_argument('--source', default='auto', metavar='PREFIX', help='of the backbone in CKPT; found by itself')
    parser.add_argument('--keep', nargs='+', default=(), choices=('resim', 'hcl'), help='more than the backbone')
    parser.add_argument('--traceback', action='store_true', help='show the traceback of an error')
    return parser.parse_args()


def main() -> int:
    args = parse_args()
    try:
        require('mmengine')
        from mmengine.logging import MMLogger

        from viewplug.transfer.export import export

        MMLogger.get_instance('export', log_level='ERROR')  # mmpretrain lists the levels of a timm model
        card = export(args.checkpoint, args.out, args.format, args.momentum, args.source, args.keep)
    except (ImportError, ValueError, OSError) as error:
        if args.traceback:
            raise
        print(f'error: {error}', file=sys.stderr)
        return 2
    which = 'momentum' if card['momentum'] else 'online'
    print(f'{args.out}: {card["tensors"]} tensors, {card["parameters"] / 1e6:.1f} M parameters, {args.format}')
    print(f'from: {args.checkpoint}, {which} backbone (under {card["prefix"]!r}), {card["epochs"]} epochs')
    print(f'card: {args.out}.json\nload: {card["load"]}')
    return 0


if __name__ == '__main__':
    sys.exit(main())
