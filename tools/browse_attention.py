"""Where a pre-trained ViT looks: a PNG sheet of images, query crops, and the attention of class token and queries.

python tools/browse_attention.py work_dirs/adclr_vit_small_in1k
python tools/browse_attention.py CONFIG CHECKPOINT --data-root /path/to/images --num 6 --heads each --out sheet.png

The backbone must be a viewplug.QueryViT. Attention is that of the last block; queries are cut as the config's
viewplug.QueryCrops (or data_preprocessor.queries) cuts them, without their colour augmentation.
"""

import argparse
import copy
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # a clone works without `pip install -e .`

from viewplug.run.command import run_tool

CROP_SETTINGS = ('crop_ratio_range', 'aspect_ratio_range', 'max_attempts', 'interpolation', 'backend')


def parse_args(argv=None) -> argparse.Namespace:
    from viewplug.config.option_values import OptionAction

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('run', help='work dir of a run, or a config')
    parser.add_argument('checkpoint', nargs='?', help="a checkpoint (default: the work dir's last)")
    parser.add_argument('--out', type=Path, help='the sheet (default: vis_attention/NAME.png beside the checkpoint)')
    parser.add_argument('--num', type=int, default=6, help='images, spread evenly over the data set')
    parser.add_argument('--num-queries', type=int, help="of each image, 1 to 12 (default: the config's, else 5)")
    parser.add_argument(
        '--heads', choices=('mean', 'each'), default='mean', help='mean of the heads, or a row for each'
    )
    parser.add_argument('--encoder', choices=('online', 'target'), default='online')
    parser.add_argument('--size', type=int, help="side of the images for the network (default: the first view's)")
    parser.add_argument('--data-root', metavar='DIR', help='draw images below DIR instead of the training data')
    parser.add_argument('--demo', action='store_true', help='CONFIG as tools/train.py --demo trains it')
    parser.add_argument('--seed', type=int, default=0, help='of the query crops')
    parser.add_argument('--cfg-options', nargs='+', action=OptionAction, default={}, help='KEY=VALUE overrides')
    return parser.parse_args(argv)


def main(argv=None) -> int:
    return run_tool(browse, parse_args, ('mmengine', 'mmcv', 'mmpretrain', 'timm'), argv)


def browse(args: argparse.Namespace) -> None:
    """
    Raises:
        UserError, ValueError, FileNotFoundError: with a sentence for the user.
    """
    import numpy as np
    import torch
    from mmengine.registry import init_default_scope

    from viewplug.evaluation.linear_data import single_view_size
    from viewplug.evaluation.localization import encoder_of
    from viewplug.evaluation.trained_model import trained_model
    from viewplug.ops.attention_maps import attention_maps
    from viewplug.run.launch import UserError
    from viewplug.visualization.attention_sheet import draw_attention
    from viewplug.visualization.box_sheet import order_as_loaded

    if args.num < 1:
        raise UserError(f'--num must be at least 1, got {args.num}')
    cfg, checkpoint = config_and_checkpoint(args)
    if not str(cfg.model.backbone.type).endswith('QueryViT'):
        raise UserError(f'browse_attention reads a viewplug.QueryViT, got backbone.type={cfg.model.backbone.type!r}')
    init_default_scope(cfg.get('default_scope', 'mmengine'))
    cfg.model.backbone.out = 'mapping'
    model, _ = trained_model(cfg, checkpoint)
    model.eval()
    backbone = encoder_of(model, args.encoder)
    size = args.size or single_view_size(cfg)
    patch = backbone.patch_embed.patch_size[0]
    crop = query_crops(cfg, patch, args.num_queries)
    np.random.seed(args.seed)
    pixels = whole_images(cfg, args, size)
    cut = [crop(dict(img=image.permute(1, 2, 0).numpy())) for image in pixels]
    queries = torch.stack([torch.from_numpy(np.ascontiguousarray(one['queries'])) for one in cut])
    boxes = torch.stack([torch.from_numpy(one['query_boxes']) for one in cut])
    class_maps, query_maps = attention_maps(
        backbone, normalised(model, pixels), normalised(model, queries.flatten(0, 1)).unflatten(0, queries.shape[:2])
    )
    titles = []
    if args.heads == 'mean':
        class_maps, query_maps = class_maps.mean(dim=1), query_maps.mean(dim=2)
    else:
        heads = class_maps.shape[1]
        titles = [f'head {k + 1}' for _ in range(len(pixels)) for k in range(heads)]
        pixels, queries, boxes = (part.repeat_interleave(heads, dim=0) for part in (pixels, queries, boxes))
        class_maps, query_maps = class_maps.flatten(0, 1), query_maps.transpose(1, 2).flatten(0, 1)
    if order_as_loaded(model.data_preprocessor, cfg) == 'bgr':
        pixels, queries = pixels.flip(1), queries.flip(2)
    sheet = draw_attention(pixels / 255, queries / 255, boxes, class_maps, query_maps, titles)
    out = args.out or Path(checkpoint).parent / 'vis_attention' / f'{Path(checkpoint).stem}.png'
    out.parent.mkdir(parents=True, exist_ok=True)
    sheet.save(out)
    print(f'{out}: {len(cut)} images of {size} px, {crop.num} queries each, {checkpoint}')


def config_and_checkpoint(args: argparse.Namespace):
    """The run's config, as it was trained, and the checkpoint."""
    from viewplug.config.options import merge_options
    from viewplug.evaluation.work_dir import pretraining_of
    from viewplug.run.launch import UserError, check_data, read_config

    if Path(args.run).is_dir():
        cfg, checkpoint = pretraining_of(args.run, args.checkpoint)
        merge_options(cfg, args.cfg_options)
        return cfg, checkpoint
    if not args.checkpoint:
        raise UserError(f'{args.run} is no work dir: give CONFIG and CHECKPOINT')
    for path in (args.run, args.checkpoint):
        if not Path(path).is_file():
            raise UserError(f'no file {Path(path).resolve()}')
    # Few images are looked at; holding all of them in memory would read all of them.
    options = {**args.cfg_options, 'in_memory': False}
    training = dict(epochs=None, amp=None, launcher='none', work_dir=None, config=args.run, cfg_options=options)
    cfg = read_config(args.run, argparse.Namespace(**{**vars(args), **training}))
    if not args.data_root:
        check_data(cfg)
    return cfg, args.checkpoint


def query_crops(cfg, patch: int, number: int | None):
    """The config's QueryCrops, or BatchViews' queries, or the default ones; for patches of ``patch`` pixels."""
    from viewplug.config.model_config import preprocessor_config
    from viewplug.evaluation.linear_data import typed_dicts
    from viewplug.run.launch import UserError
    from viewplug.transforms import QueryCrops
    from viewplug.visualization.attention_sheet import QUERY_COLOURS

    steps = [step for step in typed_dicts(cfg.train_dataloader.dataset) if str(step.type).endswith('QueryCrops')]
    in_batch = preprocessor_config(cfg).get('queries')
    found = dict(num=5)
    if in_batch:
        found = dict(num=in_batch.num, **in_batch.transforms[0])
    elif steps:
        found = dict(steps[0])
    number = number or min(found.get('num', 10), len(QUERY_COLOURS))
    if not 1 <= number <= len(QUERY_COLOURS):
        raise UserError(f'--num-queries must lie in 1 to {len(QUERY_COLOURS)}, got {number}')
    return QueryCrops(number, patch, **{key: found[key] for key in CROP_SETTINGS if key in found})


def whole_images(cfg, args: argparse.Namespace, size: int):
    """(N, 3, size, size) uint8, as loaded, of the first data set."""
    import numpy as np
    import torch
    from mmpretrain.datasets.transforms import MultiView, PackInputs

    from viewplug.config.data_root import set_data_root
    from viewplug.datasets.leaves import leaf_datasets
    from viewplug.datasets.whole_images import WholeImages
    from viewplug.registry import DATASETS

    if args.data_root:
        cfg = copy.deepcopy(cfg)  # its own copy() is shallow
        set_data_root(cfg, args.data_root)
    leaf = leaf_datasets(DATASETS.build(cfg.train_dataloader.dataset))[0]
    steps = getattr(getattr(leaf, 'pipeline', None), 'transforms', [])
    ends = [place for place, step in enumerate(steps) if isinstance(step, MultiView | PackInputs)]
    steps = [step for step in steps[: min(ends, default=len(steps))] if not getattr(step, 'beside_image', False)]
    images = WholeImages(leaf, steps, (size, size), backend='pillow')
    picked = np.linspace(0, len(images) - 1, min(args.num, len(images))).round().astype(int)
    return torch.stack([images[index][0] for index in picked.tolist()])


def normalised(model, pixels):
    """(N, 3, H, W) uint8 -> what the network is given."""
    return model.data_preprocessor(dict(inputs=pixels, data_samples=None), False)['inputs']


if __name__ == '__main__':
    sys.exit(main())
