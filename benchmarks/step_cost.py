"""What a training step costs over MoCo v2's, for each config: time, MACs, parameters, memory.

    python benchmarks/step_cost.py [--configs HCL 'HCL + ReSim'] [--batch 8 --rounds 12 --threads 2 --device cpu]

A step is online forward, target forward, loss, backward, SGD, queue and momentum update on random 224-pixel views,
whose boxes are drawn as the config's crop draws them. The configs' steps are interleaved (A B A B ...), so that what
else the machine does falls on all of them; a ratio is the median over rounds of a config's time over MoCo v2's of the
same round. On a CPU freed memory stays with the process, as in tools/train.py.

ContrastiveCrop adds nothing to a step: the row with it has the model of HCL + ReSim, and boxes whose centres lie in the
box of an object and away from its middle. Windows that do not count are computed like the others, so the difference
between the two rows is noise. What ContrastiveCrop costs is its boxes' update every tenth epoch, which is not in here.

MACs are counted, not derived. A region head compares every image with all of the batch, so its share grows with the
batch: the second table has one process with 32 images, the paper's share of a GPU, and with all 256. ReSim-FPN on
8 x 32 lies between: P3 has the negatives of its GPU, P4 (the same as C4) those of all.
"""

import argparse
import copy
import re
import resource
import statistics
import sys
import time
from collections import defaultdict
from pathlib import Path

import torch
from mmengine import Config
from mmengine.registry import MODELS
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils.flop_counter import FlopCounterMode

from viewplug.batch_views import View
from viewplug.heads import RegionHead
from viewplug.host_memory import keep_freed_memory
from viewplug.views import ViewGeometry

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks.record import default_out, device_name, write  # noqa: E402

BASE = 'MoCo v2'
CONFIGS = {
    BASE: 'configs/mocov2_r50.py',
    'HCL': 'configs/mocov2_hcl_r50.py',
    'ReSim-C4': 'configs/resim/resim_c4_mocov2_r50.py',
    'ReSim-FPN': 'configs/resim/resim_fpn_mocov2_r50.py',
    'HCL + ReSim': 'configs/resim/mocov2_hcl_resim_r50.py',
    'ContrastiveCrop + HCL + ReSim': 'configs/resim/mocov2_ccrop_hcl_resim_r50.py',
}
SIZE = 224
BATCHES = (32, 256)
PHOTOGRAPH = (375, 500)  # height and width of many of ImageNet's


class Step:
    """One config's training step on fixed random views."""

    def __init__(self, path: str, batch: int, device: str) -> None:
        self.cfg = Config.fromfile(ROOT / path)
        torch.manual_seed(0)
        self.model = MODELS.build(self.cfg.model).to(device)
        self.model.train()
        self.views = [torch.randn(batch, 3, SIZE, SIZE, device=device) for _ in range(2)]
        self.geometry = draw_geometry(self.cfg, batch, device)
        online = [p for p in self.model.parameters() if p.requires_grad]
        self.optimizer = torch.optim.SGD(online, lr=0.03, momentum=0.9, weight_decay=1e-4)
        self.device = device

    def __call__(self) -> float:
        """Seconds of one step."""
        self._wait()
        begin = time.perf_counter()
        losses = self.model(self.views, mode='loss', geometry=self.geometry)
        total = sum(value for key, value in losses.items() if 'loss' in key)
        total.backward()
        self.optimizer.step()
        self.optimizer.zero_grad()  # frees the gradients, which all configs would hold at once
        self._wait()
        return time.perf_counter() - begin

    def macs(self) -> dict:
        """Multiply-accumulates per image, in billions: ``backbone``, ``necks`` and ``heads`` of one online forward;
        ``step``, all of a training step with target and backward; ``region_neck``, its parts; ``heads_at``, the heads
        of one process with other numbers of images."""
        batch = len(self.views[0])
        found = dict(step=counted(self, batch)[0])
        with torch.no_grad():
            found['backbone'] = counted(lambda: self.model.backbone(self.views[0]), batch)[0]
            features = self.model.backbone(self.views[0])
            found['necks'] = 0.0
            for branch in self.model.branches.values():
                total, parts = counted(lambda neck=branch.neck: neck(features), batch)
                found['necks'] += total
                if isinstance(branch.head, RegionHead):
                    found['region_neck'] = parts
            embeddings = self.model.encode(self.views[0])
        found['heads'] = self._head_macs(embeddings, batch)
        found['heads_at'] = {number: self._head_macs(embeddings, number) for number in BATCHES}
        return found

    def _head_macs(self, embeddings: dict[str, torch.Tensor], number: int) -> float:
        """Of a batch of ``number`` images, of which only the shapes are needed."""
        total = 0.0
        geometry = draw_geometry(self.cfg, number, 'cpu')
        for name, branch in self.model.branches.items():
            head = copy.deepcopy(branch.head).cpu()
            with FakeTensorMode(allow_non_fake_inputs=True), torch.no_grad():
                boxes = ViewGeometry(torch.empty_like(geometry.boxes), torch.empty_like(geometry.flips))
                sides = [torch.empty(number, *embeddings[name].shape[1:]) for _ in range(2)]
                total += counted(lambda head=head, sides=sides, boxes=boxes: head.loss(*sides, geometry=boxes), number)[
                    0
                ]
        return total

    def parameters(self) -> dict[str, float]:
        """Millions of online parameters."""
        necks = sum(p.numel() for branch in self.model.branches.values() for p in branch.neck.parameters())
        return dict(backbone=sum(p.numel() for p in self.model.backbone.parameters()) / 1e6, necks=necks / 1e6)

    def windows(self, number: int = 2000) -> float | None:
        """How many windows of an image count, the mean over ``number`` images; None without a region head."""
        heads = [branch.head for branch in self.model.branches.values() if isinstance(branch.head, RegionHead)]
        geometry = draw_geometry(self.cfg, number, 'cpu')
        counts = [grid.match(geometry, 0, 1)[2].sum() / number for head in heads for grid in head.grids]
        return float(sum(counts)) if counts else None

    def _wait(self) -> None:
        if self.device != 'cpu':
            torch.cuda.synchronize()


def draw_geometry(cfg: Config, number: int, device: str) -> ViewGeometry:
    """Two views each of photographs as the config cuts them, both mirrored or neither."""
    multi_view = next(step for step in cfg.train_dataloader.dataset.pipeline if step.type.endswith('MultiView'))
    crop = View(multi_view.transforms[0]).crop
    generator = torch.Generator().manual_seed(0)
    if hasattr(crop, 'box_store'):  # an object of 0.6 times the sides, anywhere
        corners = 0.4 * torch.rand(number, 2, generator=generator)
        crop.box_store.write(torch.cat([corners, corners + 0.6], dim=1))
    sizes, index = torch.tensor([PHOTOGRAPH]).repeat(number, 1), torch.arange(number)
    boxes = torch.stack([crop.boxes(sizes, generator, index) for _ in range(2)], dim=1)
    flips = (torch.rand(number, 1, generator=generator) < 0.5).expand(-1, 2)
    return ViewGeometry((boxes / torch.tensor(PHOTOGRAPH[::-1] * 2)).float().to(device), flips.to(device))


def counted(work, batch: int) -> tuple[float, dict[str, float]]:
    """Billions of multiply-accumulates per image of a call, and of the lists of modules inside."""
    with FlopCounterMode(display=False) as counter:
        work()
    scale = 2e9 * batch
    parts = defaultdict(float)
    for name, flops in counter.get_flop_counts().items():
        found = re.fullmatch(r'[^.]+\.([a-z_.]+)\.\d+', name)
        if found:
            parts[found.group(1)] += sum(flops.values()) / scale
    return counter.get_total_flops() / scale, dict(parts)


def measure(names: list[str], batch: int, rounds: int, device: str) -> list[dict]:
    """A row a config, MoCo v2 first."""
    steps = {name: Step(CONFIGS[name], batch, device) for name in CONFIGS if name == BASE or name in names}
    times = {name: [] for name in steps}
    for round_ in range(rounds + 2):
        for name, step in steps.items():
            seconds = step()
            if round_ >= 2:  # warm-up
                times[name].append(seconds)
        print(f'round {round_ + 1} of {rounds + 2}', file=sys.stderr)
    rows = []
    for name, step in steps.items():
        ratios = sorted(mine / base for mine, base in zip(times[name], times[BASE], strict=True))
        rows.append(
            dict(
                name=name,
                config=CONFIGS[name],
                seconds=statistics.median(times[name]),
                ratio=statistics.median(ratios),
                ratio_quartiles=quartiles(ratios),
                macs=step.macs(),
                parameters=step.parameters(),
                windows=step.windows(),
            )
        )
    return rows


def quartiles(values: list[float]) -> list[float]:
    return statistics.quantiles(values, n=4)[::2] if len(values) > 1 else 2 * values


def table(rows: list[dict]) -> str:
    lines = [
        '| step | time over MoCo v2 (quartiles) | forward MACs, backbone + necks + heads | over MoCo v2 | '
        "all of a step's MACs over MoCo v2's | neck parameters | windows that count, an image |",
        '|---|---|---|---|---|---|---|',
    ]
    base = rows[0]['macs']
    for row in rows:
        low, high = row['ratio_quartiles']
        macs = row['macs']
        windows = '-' if row['windows'] is None else f'{row["windows"]:.1f}'
        lines.append(
            f'| {row["name"]} | {row["ratio"]:.3f} ({low:.3f} to {high:.3f}) | {macs["backbone"]:.3f} + '
            f'{macs["necks"]:.3f} + {macs["heads"]:.3f} G | {forward(macs) / forward(base):.3f} | '
            f'{macs["step"] / base["step"]:.3f} | {row["parameters"]["necks"]:.2f} M | {windows} |'
        )
    return '\n'.join([*lines, '', *head_table(rows)])


def head_table(rows: list[dict]) -> list[str]:
    """What the time does not show: heads at the paper's batch, and where in the region neck the work is."""
    lines = [
        f'| MACs an image | {" | ".join(f"heads, {number} images" for number in BATCHES)} | parts of the region neck |',
        '|---|' + '---|' * (len(BATCHES) + 1),
    ]
    for row in rows:
        at = ' | '.join(f'{row["macs"]["heads_at"][number]:.3f} G' for number in BATCHES)
        parts = ', '.join(f'{name} {macs:.3f} G' for name, macs in row['macs'].get('region_neck', {}).items())
        lines.append(f'| {row["name"]} | {at} | {parts or "-"} |')
    return lines


def forward(macs: dict) -> float:
    return macs['backbone'] + macs['necks'] + macs['heads']


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        '--configs', nargs='+', choices=list(CONFIGS), default=list(CONFIGS), help='rows beside MoCo v2'
    )
    parser.add_argument('--batch', type=int, default=8)
    parser.add_argument('--rounds', type=int, default=12)
    parser.add_argument('--threads', type=int, default=2)
    parser.add_argument('--device', default='cpu')
    parser.add_argument('--out', type=Path, help='default: benchmarks/results/step_cost, with _cuda on a GPU')
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    if args.device == 'cpu':
        keep_freed_memory()
    rows = measure(args.configs, args.batch, args.rounds, args.device)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    setting = dict(
        batch=args.batch, rounds=args.rounds, threads=args.threads, device=device_name(args.device), size=SIZE
    )
    setting |= dict(torch=torch.__version__, peak_process_gib=round(peak, 2))
    write(args.out or default_out('step_cost', args.device), dict(setting=setting, rows=rows), table(rows))
    print(table(rows))


if __name__ == '__main__':
    main()
