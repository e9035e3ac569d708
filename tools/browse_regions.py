"""What ReSim compares in a config: a PNG sheet of images and their two views, matched windows in the same colours.

python tools/browse_regions.py configs/resim/resim_c4_mocov2_r50.py --data-root /path/to/images
python tools/browse_regions.py configs/resim/resim_fpn_mocov2_r50.py --demo --num 4 --out sheet.png

Views are cut as in training (per sample or, with views='device', in batch), except that ContrastiveCrop has no boxes
yet. Of the windows of view 0 that lie wholly in the overlap, those are drawn that do not overlap each other.
"""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # a clone works without `pip install -e .`

from viewplug.run.command import run_tool


def parse_args(argv=None) -> argparse.Namespace:
    from viewplug.config.option_values import OptionAction

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('config', help='a config with a viewplug.RegionHead in one of its branches')
    parser.add_argument('--out', type=Path, default=Path('regions.png'), help='the sheet (default: regions.png)')
    parser.add_argument('--num', type=int, default=6, help='images, spread evenly over the data set')
    parser.add_argument('--num-windows', type=int, default=12, help='of an image and a level, at most (1 to 12)')
    parser.add_argument('--seed', type=int, default=0, help='of the views')
    parser.add_argument('--data-root', metavar='DIR', help='draw images below DIR instead of the training data')
    parser.add_argument('--demo', action='store_true', help='as tools/train.py --demo trains it: no data needed')
    parser.add_argument('--cfg-options', nargs='+', action=OptionAction, default={}, help='KEY=VALUE overrides')
    return parser.parse_args(argv)


def main(argv=None) -> int:
    return run_tool(browse, parse_args, ('mmengine', 'mmcv', 'mmpretrain'), argv)


def browse(args: argparse.Namespace) -> None:
    """
    Raises:
        UserError, ValueError, FileNotFoundError: with a sentence for the user.
    """
    from mmengine.registry import init_default_scope
    from mmengine.runner import set_random_seed

    from viewplug.run.launch import UserError, check_data, read_config
    from viewplug.visualization.region_sheet import draw_regions

    if args.num < 1:
        raise UserError(f'--num must be at least 1, got {args.num}')
    training = dict(epochs=None, amp=None, launcher='none', work_dir=None)
    # Few images are looked at; holding all of them in memory would read all of them.
    options = {**args.cfg_options, 'in_memory': False}
    cfg = read_config(args.config, argparse.Namespace(**{**vars(args), **training, 'cfg_options': options}))
    init_default_scope(cfg.get('default_scope', 'mmengine'))
    grids = grids_of(cfg, args.config)
    check_data(cfg)
    set_random_seed(args.seed)
    images, views, geometry = images_and_views(cfg, args)
    sheet = draw_regions(images, views, geometry, grids, args.num_windows)
    args.out.parent.mkdir(parents=True, exist_ok=True)
    sheet.save(args.out, optimize=True)
    counts = {grid.downsample: grid.match(geometry, 0, 1)[2].sum(dim=(1, 2)).tolist() for grid in grids}
    found = '; '.join(f'stride {stride}: {" ".join(map(str, count))}' for stride, count in counts.items())
    print(f'{args.out}: {len(images)} images, windows that count: {found}')


def grids_of(cfg, path: str) -> list:
    """The window grids of the config's region heads, of all levels."""
    from viewplug.registry import MODELS
    from viewplug.run.launch import UserError

    branches = cfg.model.get('branches') or {}
    heads = [branch.head for branch in branches.values() if is_region_head(branch.get('head') or {})]
    if not heads:
        raise UserError(
            f'no viewplug.RegionHead in {path} (model.branches: {", ".join(branches) or "none"}): there are no windows '
            'to draw; configs/resim/ has configs with one'
        )
    # Without a predictor the head needs no network around it.
    return [grid for head in heads for grid in MODELS.build({**head, 'predictor': None}).grids]


def is_region_head(head: dict) -> bool:
    from viewplug.heads import RegionHead
    from viewplug.registry import MODELS

    kind = head.get('type')
    if isinstance(kind, str):
        kind = MODELS.get(kind if '.' in kind else f'viewplug.{kind}')
    return isinstance(kind, type) and issubclass(kind, RegionHead)


def images_and_views(cfg, args: argparse.Namespace):
    """Whole images (3, H_i, W_i) and views (N, 3, S, S) of the first data set, RGB in [0, 1], and their geometry."""
    import torch

    from viewplug.config.model_config import preprocessor_config
    from viewplug.registry import MODELS
    from viewplug.run.launch import UserError
    from viewplug.views import ViewGeometry
    from viewplug.visualization.box_sheet import order_as_loaded
    from viewplug.visualization.gallery import rgb_pixels

    loaded = samples(cfg, args)
    settings = preprocessor_config(cfg)
    preprocessor = MODELS.build({'type': 'viewplug.ViewsDataPreprocessor', **settings})
    images, inputs, data_samples = (list(column) for column in zip(*loaded, strict=True))
    if isinstance(inputs[0], list):
        inputs = [torch.stack(view) for view in zip(*inputs, strict=True)]
    data = preprocessor(dict(inputs=inputs, data_samples=data_samples), training=True)
    geometry = data.get('geometry') or ViewGeometry.from_samples(data['data_samples'])
    if geometry is not None:
        geometry.require()
    if geometry is None or geometry.boxes.shape[1] < 2:
        raise UserError(
            f'{args.config} has no two views that say where they were cut: make them with viewplug.MultiView around '
            'viewplug.RandomResizedCrop or viewplug.ContrastiveCrop, and let PackInputs(meta_keys=...) keep '
            "'crop_box' and 'flip'"
        )
    views = [rgb_pixels(view, preprocessor, cfg) for view in data['inputs'][:2]]
    is_bgr = order_as_loaded(preprocessor, cfg) == 'bgr'
    return [(image.flip(0) if is_bgr else image).float() / 255 for image in images], views, geometry


def samples(cfg, args: argparse.Namespace) -> list[tuple]:
    """Whole image (3, H, W) uint8, ``inputs`` and data sample of images spread over the first data set."""
    import numpy as np
    import torch
    from mmengine.dataset import Compose
    from mmpretrain.datasets.transforms import MultiView, PackInputs

    from viewplug.datasets.leaves import leaf_datasets
    from viewplug.registry import DATASETS

    leaf = leaf_datasets(DATASETS.build(cfg.train_dataloader.dataset))[0]
    steps = getattr(getattr(leaf, 'pipeline', None), 'transforms', None)
    if steps is None:
        raise ValueError(f'the data set of {args.config} ({type(leaf).__name__}) has no pipeline')
    places = [place for place, step in enumerate(steps) if isinstance(step, MultiView | PackInputs)]
    place = min(places, default=len(steps))
    leaf.pipeline, rest = Compose(steps[:place]), Compose(steps[place:])
    found = []
    for index in np.linspace(0, len(leaf) - 1, min(args.num, len(leaf))).round().astype(int).tolist():
        results = leaf[index]
        pixels = np.atleast_3d(results['img']).transpose(2, 0, 1)
        image = torch.from_numpy(np.ascontiguousarray(pixels)).expand(3, -1, -1)
        sample = rest(results)
        found.append((image, sample.get('inputs', image), sample.get('data_samples')))
    return found


if __name__ == '__main__':
    sys.exit(main())
