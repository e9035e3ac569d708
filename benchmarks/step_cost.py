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
import resource
import statistics
import sys
import time
from pathlib import Path

import torch
from mmengine import Config
from mmengine.registry import MODELS

from viewplug.devices import usable_device
from viewplug.host_memory import keep_freed_memory

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks.record import default_out, device_name, write  # noqa: E402
from benchmarks.step_macs import BATCHES, count_macs, count_parameters, count_windows, draw_geometry  # noqa: E402

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

    def _wait(self) -> None:
        if self.device != 'cpu':
            torch.cuda.synchronize()


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
                macs=count_macs(step, step.model, step.cfg, step.views),
                parameters=count_parameters(step.model),
                windows=count_windows(step.model, step.cfg),
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
    parser.add_argument('--device', type=usable_device, default='cpu')
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
