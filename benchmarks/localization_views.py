"""LocalizationHook's source='views' against its forward: box IoU on scenes with known objects, and cost of a step.

    python benchmarks/localization_views.py [--epochs 8 --images 2000 --threads 1 --seed 0 --out ...]

Quality: the demo's HCL model (tools/train.py --demo) trains on ShapeScenes with random crops; every two epochs the
heat maps averaged over the views since the last time, and those of a forward of all images whole, become boxes by the
same threshold. Cost: what a step of MoCo v2 (ResNet-50, 224 pixels) does for source='views', timed alone, over the
step's own time.
"""

import argparse
import statistics
import sys
import tempfile
import time
from pathlib import Path

import torch
from mmengine import Config
from mmengine.hooks import Hook
from mmengine.runner import Runner
from torch import Tensor

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks.record import write  # noqa: E402
from benchmarks.step_cost import SIZE, Step  # noqa: E402
from viewplug.hooks.box_sources import ForwardBoxes, Reading, ViewBoxes  # noqa: E402
from viewplug.hooks.box_targets import BoxTargets  # noqa: E402
from viewplug.hooks.view_heatmaps import ViewHeatmaps  # noqa: E402
from viewplug.ops.heatmap_boxes import channel_sum, localise  # noqa: E402
from viewplug.random_states import kept_random_state  # noqa: E402
from viewplug.run.demo import to_demo  # noqa: E402

LEVELS = {'k = 0.1': (0.1, None), 'k = 0.3': (0.3, None), 'Otsu': (0.1, 'otsu')}
INTERVAL = 2


class Compare(Hook):
    """Boxes of both sources every ``INTERVAL`` epochs."""

    def __init__(self, true_boxes: Tensor, grid: int) -> None:
        self.true_boxes, self.grid = true_boxes, grid
        self.rows: list[dict] = []
        self.seconds = 0.0

    def before_train(self, runner) -> None:
        targets = BoxTargets(runner.train_dataloader.dataset)
        reading = Reading(targets.input_size(), 0.1, None, 'online', 'auto')
        self.forward = ForwardBoxes(targets, reading, 250, 0)
        self.views = ViewBoxes(runner, targets, reading, self.grid, None)

    def before_train_iter(self, runner, batch_idx, data_batch=None) -> None:
        self.views.before_step(True)
        self.begin = time.perf_counter()

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None) -> None:
        self.views.after_step(data_batch)
        self.seconds += time.perf_counter() - self.begin

    def after_train_epoch(self, runner) -> None:
        if (runner.epoch + 1) % INTERVAL:
            return
        size, targets = self.forward.reading.size, self.forward.targets
        with kept_random_state():
            loader = torch.utils.data.DataLoader(targets.whole_images(size), 250)
            forward = torch.cat([batch.heatmaps for batch in self.forward.reading.localise(runner, loader)])
        views, seen = self.views.maps.means()
        for name, level in LEVELS.items():
            a, b = localise(forward, size, *level), localise(views, size, *level)
            row = dict(epoch=runner.epoch + 1, level=name, seen=float(seen.float().mean()))
            row |= dict(views_forward=mean_iou(b.boxes, a.boxes))
            row |= dict(forward_true=mean_iou(a.boxes, self.true_boxes), views_true=mean_iou(b.boxes, self.true_boxes))
            row |= dict(forward_area=mean_area(a.boxes), views_area=mean_area(b.boxes))
            row |= dict(forward_whole=float(a.whole.float().mean()), views_whole=float(b.whole.float().mean()))
            self.rows.append(row)
            runner.logger.info(row)
        self.views.reset()


def mean_iou(a: Tensor, b: Tensor) -> float:
    overlap = (torch.minimum(a[:, 2:], b[:, 2:]) - torch.maximum(a[:, :2], b[:, :2])).clamp_min(0).prod(dim=1)
    areas = [(box[:, 2:] - box[:, :2]).prod(dim=1) for box in (a, b)]
    return float((overlap / (areas[0] + areas[1] - overlap)).mean())


def mean_area(boxes: Tensor) -> float:
    return float((boxes[:, 2:] - boxes[:, :2]).prod(dim=1).mean())


def quality(epochs: int, images: int, grid: int, seed: int) -> tuple[list[dict], float]:
    """Rows of the table, and the share of the small model's steps that collecting took."""
    cfg = to_demo(Config.fromfile(ROOT / 'configs/mocov2_hcl_r50.py'), epochs)
    dataset = cfg.train_dataloader.dataset
    dataset.update(num_images=images, preload=True)
    multi_view = next(step for step in dataset.pipeline if step.type.endswith('MultiView'))
    for step in multi_view.transforms[0]:
        if step.type.endswith('RandomResizedCrop'):  # the same crop, to the bit, until it gets boxes
            step.update(type='viewplug.ContrastiveCrop', alpha=1.0)
    cfg.update(custom_hooks=[], randomness=dict(seed=seed), work_dir=tempfile.mkdtemp())
    runner = Runner.from_cfg(cfg)
    scenes = runner.train_loop.dataloader.dataset
    true = [torch.from_numpy(scenes.render(index).boxes[0]) / dataset.image_size for index in range(images)]
    compare = Compare(torch.stack(true).float(), grid)
    runner.register_hook(compare)
    runner.train()
    return compare.rows, compare.views.spent / compare.seconds


def cost(batch: int, rounds: int, grid: int, images: int = 10_000) -> dict:
    """Seconds of a MoCo v2 step, and of what source='views' adds to it (heat map of the online view, paste, add)."""
    step = Step('configs/mocov2_r50.py', batch, 'cpu')
    with torch.no_grad():
        features = step.model.backbone(step.views[0])[-1]
    maps = ViewHeatmaps(images, grid)
    corners = torch.rand(batch, 2, 2).sort(dim=1).values.flatten(1)
    flips = torch.rand(batch) < 0.5
    steps, added = [], []
    for number in range(rounds + 2):
        seconds = step()
        indices = torch.randint(images, (batch,))
        begin = time.perf_counter()
        maps.add(indices, channel_sum(features), corners, flips)
        if number >= 2:  # warm-up
            steps.append(seconds)
            added.append(time.perf_counter() - begin)
    steps, added = statistics.median(steps), statistics.median(added)
    return dict(batch=batch, size=SIZE, step_seconds=steps, views_seconds=added, share=added / steps)


def table(rows: list[dict], found: dict) -> str:
    lines = [
        '| epoch | level | IoU views, forward | IoU forward, object | IoU views, object | area forward | area views |',
        '|---|---|---|---|---|---|---|',
    ]
    keys = ('views_forward', 'forward_true', 'views_true', 'forward_area', 'views_area')
    for row in rows:
        lines.append(f'| {row["epoch"]} | {row["level"]} | ' + ' | '.join(f'{row[key]:.3f}' for key in keys) + ' |')
    lines.append('')
    lines.append(
        f'A MoCo v2 step (ResNet-50, {found["size"]} px, batch {found["batch"]}, CPU): {found["step_seconds"]:.3f} s; '
        f"source='views' adds {1e3 * found['views_seconds']:.2f} ms, {found['share']:.3%}. In the small "
        f'run above, whose steps are short, it took {found["share_of_small_steps"]:.3%} of them (loading aside).'
    )
    return '\n'.join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--epochs', type=int, default=8)
    parser.add_argument('--images', type=int, default=2000)
    parser.add_argument('--grid', type=int, default=14)
    parser.add_argument('--batch', type=int, default=8, help='of the timed step')
    parser.add_argument('--rounds', type=int, default=6)
    parser.add_argument('--threads', type=int, default=1)
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument('--out', type=Path, default=ROOT / 'benchmarks/results/localization_views')
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    found = cost(args.batch, args.rounds, args.grid)
    rows, found['share_of_small_steps'] = quality(args.epochs, args.images, args.grid, args.seed)
    setting = {key: value for key, value in vars(args).items() if key != 'out'} | dict(torch=torch.__version__)
    write(args.out, dict(setting=setting, cost=found, rows=rows), table(rows, found))
    print(table(rows, found))


if __name__ == '__main__':
    main()
