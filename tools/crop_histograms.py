"""SimCLR's Fig. 6: the colours of an image's crops, without and with colour distortion.

python tools/crop_histograms.py --out histograms.png                         # two scenes of the embedded data set
python tools/crop_histograms.py a.jpg b.jpg --crops 6 --out histograms.png

A row is an image, a column a random crop of it; below each crop stands the histogram of its intensities over all
channels. Crops of one image share their histogram, by which a network could tell them from others without looking at
what is in them; distortion takes that away. The sheet gives it as a number: how far apart (total variation, 0 to 1)
histograms of crops of one image are, and of different images.
"""

import argparse
import sys
from itertools import combinations
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # a clone works without `pip install -e .`

import numpy as np
import torch

from viewplug.run.command import output_file, run_tool

BINS = 32
JITTER = dict(
    type='RandomApply',
    transforms=[dict(type='viewplug.ColorJitter', brightness=0.8, contrast=0.8, saturation=0.8, hue=0.2)],
    prob=0.8,
)
DISTORTION = [JITTER, dict(type='RandomGrayscale', prob=0.2, keep_channels=True)]
"""Strength 1 of SimCLR's app. A."""


def crops_of(image: np.ndarray, number: int, distort: bool, size: int, seed: int) -> np.ndarray:
    """(H, W, 3) uint8 RGB -> (number, size, size, 3) in [0, 255]; the same places with distortion and without."""
    from viewplug.batch_views.steps import build_operator
    from viewplug.batch_views.view import View

    crop = View([dict(type='RandomResizedCrop', scale=size, crop_ratio_range=(0.08, 1.0), backend='pillow')])
    bgr = torch.from_numpy(image[..., ::-1].transpose(2, 0, 1).copy())[None]
    views = crop.many(number, bgr, generator=torch.Generator().manual_seed(seed))[0][:, 0]
    if distort:
        generator = torch.Generator().manual_seed(seed + 1)
        for config in DISTORTION:
            operator = build_operator(config)
            chosen = torch.rand(number, generator=generator) < operator.prob
            changed = operator.apply(views.clone(), **operator.draw(number, generator))
            views = torch.where(chosen[:, None, None, None], changed, views)
    return views.flip(1).permute(0, 2, 3, 1).clamp(0, 255).numpy()


def histogram(view: np.ndarray) -> np.ndarray:
    """(BINS,) shares of the intensities of all channels together."""
    counts = np.histogram(view, bins=BINS, range=(0, 255))[0]
    return counts / counts.sum()


def distances(histograms: list[list[np.ndarray]]) -> tuple[float, float]:
    """Mean total variation between crops of the same image, and of different images."""
    same = [np.abs(a - b).sum() / 2 for crops in histograms for a, b in combinations(crops, 2)]
    other = [np.abs(a - b).sum() / 2 for one, two in combinations(histograms, 2) for a in one for b in two]
    return float(np.mean(same)), float(np.mean(other)) if other else float('nan')


def draw(images: list[np.ndarray], number: int, size: int, seed: int, path: Path) -> dict[str, tuple[float, float]]:
    """The sheet; returns the :func:`distances` under 'without' and 'with'."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(1.3 * number, 5.4 * len(images)), dpi=100, layout='constrained')
    FigureCanvasAgg(figure)
    found = {}
    halves = figure.subfigures(2, 1)
    for half, (word, distort) in zip(halves, (('without', False), ('with', True)), strict=True):
        views = [crops_of(image, number, distort, size, seed + place) for place, image in enumerate(images)]
        found[word] = distances([[histogram(view) for view in crops] for crops in views])
        same, other = found[word]
        half.suptitle(
            f'{word} colour distortion: histograms {same:.2f} apart within an image, {other:.2f} between', fontsize=9
        )
        axes = half.subplots(2 * len(images), number, squeeze=False)
        top = max(histogram(view).max() for crops in views for view in crops)
        for row, crops in enumerate(views):
            for column, view in enumerate(crops):
                picture, bars = axes[2 * row][column], axes[2 * row + 1][column]
                picture.imshow(view.astype(np.uint8))
                picture.axis('off')
                bars.bar(range(BINS), histogram(view), width=1.0, color='#3b75af')
                bars.set(ylim=(0, top), xticks=[], yticks=[])
    figure.savefig(path)
    return found


def pictures(paths: list[str]) -> list[np.ndarray]:
    """RGB images; of the embedded data set where no paths are given.

    Raises:
        ValueError: a file is no image of up to 16 bits a channel.
    """
    if not paths:
        from viewplug.datasets import ShapeScenes

        scenes = ShapeScenes(image_size=128, object_scale=(0.35, 0.6))
        return [scenes.render(index).image for index in (0, 1)]
    from mmcv.transforms import LoadImageFromFile

    from viewplug.datasets.corrupt_images import Unreadable, load_checked

    found = []
    for path in paths:  # as training loads them, so that deeper images are not cut off at 8 bits
        try:
            found.append(load_checked(LoadImageFromFile(), dict(img_path=path))['img'][..., ::-1])
        except Unreadable as error:
            raise ValueError(f'{path} is not an image that can be read: {error}') from error
    return found


def parse_args(argv=None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('images', nargs='*', help='image files (default: two rendered scenes)')
    parser.add_argument('--crops', type=int, default=7)
    parser.add_argument('--size', type=int, default=96, help='of the crops, pixels')
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument('--out', type=Path, default=Path('crop_histograms.png'))
    return parser.parse_args(argv)


def run(args: argparse.Namespace) -> None:
    if args.crops < 2:
        raise ValueError(f'--crops must be at least 2, got {args.crops}')
    if args.size < 1:
        raise ValueError(f'--size must be at least 1, got {args.size}')
    found = draw(pictures(args.images), args.crops, args.size, args.seed, output_file(args.out))
    for word, (same, other) in found.items():
        print(f'{word} colour distortion: {same:.3f} apart within an image, {other:.3f} between images')
    print(f'written to {args.out}')


def main(argv=None) -> int:
    return run_tool(run, parse_args, ('mmengine', 'mmcv', 'mmpretrain'), argv)


if __name__ == '__main__':
    sys.exit(main())
