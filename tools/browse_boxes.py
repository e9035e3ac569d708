"""Where a checkpoint sees the objects: a PNG sheet of images with heat map, box and sampled crops.

python tools/browse_boxes.py CONFIG CHECKPOINT
python tools/browse_boxes.py CONFIG CHECKPOINT --demo
python tools/browse_boxes.py CONFIG CHECKPOINT --data-root /path/to/images --num 12 --out sheet.png

The config need not use ContrastiveCrop: for any pre-training config with a random resized crop the sheet shows what
ContrastiveCrop would do. Settings are those of the config's LocalizationHook, if it has one, unless given here.
"""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # a clone works without `pip install -e .`

from viewplug.run.command import run_tool

SETTINGS = ('threshold', 'adaptive_threshold', 'encoder', 'heatmap')


def parse_args(argv=None) -> argparse.Namespace:
    from viewplug.config.option_values import OptionAction

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('config', help="a pre-training config, ours or mmpretrain's")
    parser.add_argument('checkpoint', help='a checkpoint of it')
    parser.add_argument('--out', type=Path, default=Path('boxes.png'), help='the sheet (default: boxes.png)')
    parser.add_argument('--num', type=int, default=8, help='images, spread evenly over the data set')
    parser.add_argument('--num-crops', type=int, default=4, help='crops of each image')
    parser.add_argument('--threshold', type=float, help='k, in [0, 1) (default: that of the config, else 0.1)')
    parser.add_argument('--adaptive-threshold', type=quantile_or_name, help="'otsu', or a quantile in (0, 1)")
    parser.add_argument('--encoder', choices=('online', 'target'))
    parser.add_argument('--heatmap', choices=('auto', 'features', 'attention', 'token_norm'))
    parser.add_argument('--alpha', type=float, help="of the crops' centres (default: that of the config, else 0.6)")
    parser.add_argument(
        '--channel-order',
        choices=('bgr', 'rgb'),
        help='of the images as loaded (default: as the config says)',
    )
    parser.add_argument('--data-root', metavar='DIR', help='draw images below DIR instead of the training data')
    parser.add_argument('--demo', action='store_true', help='the checkpoint is of tools/train.py --demo')
    parser.add_argument('--seed', type=int, default=0, help='of the crops')
    parser.add_argument('--cfg-options', nargs='+', action=OptionAction, default={}, help='KEY=VALUE overrides')
    return parser.parse_args(argv)


def quantile_or_name(value: str) -> float | str:
    try:
        return float(value)
    except ValueError:
        return value


def main(argv=None) -> int:
    return run_tool(browse, parse_args, ('mmengine', 'mmcv', 'mmpretrain'), argv)


def browse(args: argparse.Namespace) -> None:
    """
    Raises:
        UserError, ValueError, FileNotFoundError: with a sentence for the user.
    """
    import numpy as np
    import torch
    from mmengine.registry import init_default_scope

    from viewplug.evaluation.crop_images import images_and_crop
    from viewplug.evaluation.localization import encoder_of, localise_batches
    from viewplug.evaluation.trained_model import trained_model
    from viewplug.run.launch import UserError, check_data, read_config
    from viewplug.visualization.box_sheet import draw_boxes, order_as_loaded

    for path in (args.config, args.checkpoint):
        if not Path(path).is_file():
            raise UserError(f'no file {Path(path).resolve()}')
    if args.num < 1 or args.num_crops < 1:
        raise UserError(f'--num and --num-crops must be at least 1, got {args.num} and {args.num_crops}')
    training = dict(epochs=None, amp=None, launcher='none', work_dir=None)
    options = {**args.cfg_options, 'in_memory': False, 'views': 'sample'}  # the pipeline shows the crop
    asked = {**vars(args), **training, 'cfg_options': options, 'data_root': None}  # its folder comes below
    cfg = read_config(args.config, argparse.Namespace(**asked))
    init_default_scope(cfg.get('default_scope', 'mmengine'))
    if not args.data_root:
        check_data(cfg)
    settings = {name: hook[name] for hook in hooks_of(cfg) for name in SETTINGS if name in hook}
    settings |= {name: value for name in SETTINGS if (value := getattr(args, name)) is not None}
    encoder, adaptive = settings.pop('encoder', 'online'), settings.pop('adaptive_threshold', None)
    images, crop = images_and_crop(cfg, args.data_root, args.alpha)
    model, _ = trained_model(cfg, args.checkpoint)
    picked = np.linspace(0, len(images) - 1, min(args.num, len(images))).round().astype(int)
    read = [image for image, readable in (images[index] for index in picked.tolist()) if readable]
    if not read:
        raise UserError(
            f'none of the {len(picked)} images picked can be read, so there is nothing to draw: raise --num, or set '
            '--data-root to images that can be read'
        )
    batch = torch.stack(read), torch.ones(len(read), dtype=bool)
    (found,) = localise_batches(model, [batch], adaptive=adaptive, backbone=encoder_of(model, encoder), **settings)
    order = args.channel_order or order_as_loaded(model.data_preprocessor, cfg)
    np.random.seed(args.seed)
    sheet = draw_boxes(batch[0], found.heatmaps, found.found.boxes, crop, order, args.num_crops)
    args.out.parent.mkdir(parents=True, exist_ok=True)
    sheet.save(args.out)
    whole = int(found.found.whole.sum())
    unreadable = len(picked) - len(read)
    left_out = f' ({unreadable} more cannot be read: left out)' if unreadable else ''
    print(f'{args.out}: {len(read)} images{left_out}, {whole} of their boxes the whole image')


def hooks_of(cfg) -> list[dict]:
    """The config's LocalizationHooks."""
    return [hook for hook in cfg.get('custom_hooks') or [] if str(hook.get('type')).endswith('LocalizationHook')]


if __name__ == '__main__':
    sys.exit(main())
