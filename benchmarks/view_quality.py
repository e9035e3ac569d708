"""What ContrastiveCrop does to views, on scenes whose objects are known (its Fig. 3 to 5 as numbers).

    python benchmarks/view_quality.py [--epochs 30 --interval 5 --threshold 0.1 --alpha 0.1 --seed 0 --out ...]

MoCo v2 with ContrastiveCrop trains on ShapeScenes (configs/contrastive_crop/cifar10/moco_ccrop.py as a demo); at each
update of its boxes, before the first one and with the true boxes for comparison, pairs of views are drawn by
RandomCrop, localisation alone (alpha = 1), suppression alone (no box) and both, which is RandomCrop as long as there
are no boxes. A view misses the object if it shows less than a quarter of the object's box.
"""

import argparse
import sys
import tempfile
from pathlib import Path

import matplotlib
import numpy as np
import torch
from mmengine import Config
from mmengine.hooks import Hook
from mmengine.runner import Runner

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks.record import write  # noqa: E402
from viewplug.batch_views import to_device_views  # noqa: E402
from viewplug.crop_sampling import sample_crop  # noqa: E402
from viewplug.hooks.box_targets import BoxTargets  # noqa: E402
from viewplug.run.demo import to_demo  # noqa: E402

matplotlib.use('agg')
from matplotlib import pyplot as plt  # noqa: E402

CONFIG = 'configs/contrastive_crop/cifar10/moco_ccrop.py'
VARIANTS = ('RandomCrop', 'localisation', 'suppression', 'both')
SHOWN = 0.25


class Record(Hook):
    """The boxes in force after each epoch in which they were renewed."""

    priority = 'VERY_LOW'

    def __init__(self) -> None:
        self.boxes: dict[int, np.ndarray] = {}

    def before_train(self, runner) -> None:
        self.targets = BoxTargets(runner.train_dataloader.dataset, runner.model.data_preprocessor)

    def after_train_epoch(self, runner) -> None:
        if not self.targets.written:
            return
        boxes = self.targets.read().numpy()
        last = next(reversed(self.boxes.values()), None)
        if last is None or not np.array_equal(boxes, last):
            self.boxes[runner.epoch] = boxes.copy()


def trained_boxes(epochs: int, interval: int, images: int, alpha: float, threshold: float, seed: int):
    """Boxes by the epoch of their update, and the true ones."""
    cfg = Config.fromfile(ROOT / CONFIG)
    cfg = to_demo(cfg, epochs)
    cfg.train_dataloader.dataset.update(num_images=images, preload=True)
    for step in next(s for s in cfg.train_dataloader.dataset.pipeline if s.type.endswith('MultiView')).transforms[0]:
        if step.type.endswith('ContrastiveCrop'):
            step.alpha = alpha
    localization = next(hook for hook in cfg.custom_hooks if hook.type.endswith('LocalizationHook'))
    localization.update(start=interval, interval=interval, threshold=threshold)
    cfg.custom_hooks = [localization]
    cfg.update(randomness=dict(seed=seed), work_dir=tempfile.mkdtemp())
    size = cfg.train_dataloader.dataset.image_size
    to_device_views(cfg, in_memory=True)
    runner = Runner.from_cfg(cfg)
    scenes = runner.train_loop.dataloader.dataset.dataset
    true = np.stack([scenes.render(index).boxes[0] / size for index in range(images)])
    record = Record()
    runner.register_hook(record)
    runner.train()
    return record.boxes, true, size


def quality(boxes, true: np.ndarray, size: int, alpha: float, pairs: int = 4) -> dict[str, dict[str, float]]:
    """Of each variant: share of pairs in which a view misses the object, and mean IoU of the two views."""
    rng = np.random.default_rng(0)
    found = {}
    for variant in VARIANTS:
        early = variant == 'both' and boxes is None
        centre = 1.0 if variant in ('RandomCrop', 'localisation') or early else alpha
        uses_box = variant in ('localisation', 'both') and boxes is not None
        misses, overlaps = [], []
        for index, thing in enumerate(true):
            for _ in range(pairs):
                views = [
                    corners(sample_crop(size, size, boxes[index] if uses_box else None, alpha=centre, rng=rng), size)
                    for _ in range(2)
                ]
                shown = [intersection(view, thing) / area(thing) for view in views]
                misses.append(min(shown) < SHOWN)
                common = intersection(*views)
                overlaps.append(common / (area(views[0]) + area(views[1]) - common))
        found[variant] = dict(misses=float(np.mean(misses)), iou=float(np.mean(overlaps)))
    return found


def corners(crop: tuple[int, int, int, int], size: int) -> tuple[float, float, float, float]:
    top, left, height, width = crop
    return left / size, top / size, (left + width) / size, (top + height) / size


def intersection(a, b) -> float:
    return max(min(a[2], b[2]) - max(a[0], b[0]), 0) * max(min(a[3], b[3]) - max(a[1], b[1]), 0)


def area(box) -> float:
    return (box[2] - box[0]) * (box[3] - box[1])


def mean_iou(a: np.ndarray, b: np.ndarray) -> float:
    values = [intersection(x, y) / (area(x) + area(y) - intersection(x, y)) for x, y in zip(a, b, strict=True)]
    return float(np.mean(values))


def table(rows: list[dict]) -> str:
    lines = ['| boxes | IoU with the object | mean area | ' + ' | '.join(VARIANTS) + ' |', '|' + '---|' * 7]
    for row in rows:
        cells = [f'{100 * row[v]["misses"]:.1f} % / {row[v]["iou"]:.3f}' for v in VARIANTS]
        lines.append(f'| {row["boxes"]} | {row["box_iou"]:.3f} | {row["area"]:.3f} | ' + ' | '.join(cells) + ' |')
    lines.append('')
    lines.append('Cells: share of pairs in which a view misses the object / mean IoU of the two views.')
    return '\n'.join(lines)


def draw(rows: list[dict], path: Path) -> None:
    learned = [row for row in rows if row['epoch'] is not None]
    figure, axes = plt.subplots(1, 3, figsize=(12, 3.7), layout='constrained')
    axes[0].plot([row['epoch'] for row in learned], [row['box_iou'] for row in learned], 'o-')
    axes[0].set(xlabel='epoch', ylabel='IoU of the box with the object', ylim=(0, 1))
    for variant in VARIANTS:
        for axis, key in zip(axes[1:], ('misses', 'iou'), strict=True):
            axis.plot([row['epoch'] for row in learned], [row[variant][key] for row in learned], 'o-', label=variant)
            axis.plot([learned[-1]['epoch'] * 1.1], [rows[-1][variant][key]], '*', color=axis.lines[-1].get_color())
    axes[1].set(xlabel='epoch (star: true boxes)', ylabel='pairs in which a view misses the object')
    axes[2].set(xlabel='epoch (star: true boxes)', ylabel='mean IoU of the two views')
    figure.legend(*axes[1].get_legend_handles_labels(), loc='outside lower center', ncols=len(VARIANTS))
    figure.savefig(path, dpi=110)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--epochs', type=int, default=30)
    parser.add_argument('--interval', type=int, default=5)
    parser.add_argument('--images', type=int, default=4000)
    parser.add_argument('--alpha', type=float, default=0.1)
    parser.add_argument('--threshold', type=float, default=0.1, help='of the heat map (k; the paper has 0.1)')
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument('--threads', type=int, default=2)
    parser.add_argument('--out', type=Path, default=ROOT / 'benchmarks/results/view_quality')
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    learned, true, size = trained_boxes(args.epochs, args.interval, args.images, args.alpha, args.threshold, args.seed)
    sources = [('none', 0, np.tile(np.float32([0, 0, 1, 1]), (len(true), 1)))]
    sources += [(f'after epoch {epoch}', epoch, boxes) for epoch, boxes in learned.items()]
    sources += [('true', None, true)]
    rows = [
        dict(boxes=name, epoch=epoch, box_iou=mean_iou(boxes, true), area=float(np.mean([area(b) for b in boxes])))
        | quality(None if name == 'none' else boxes, true, size, args.alpha)
        for name, epoch, boxes in sources
    ]
    setting = {key: value for key, value in vars(args).items() if key != 'out'}
    write(args.out, dict(setting=setting, rows=rows), table(rows))
    draw(rows, args.out.with_suffix('.png'))
    print(table(rows))


if __name__ == '__main__':
    main()
