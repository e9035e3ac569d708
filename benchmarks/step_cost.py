"""What a training step costs over MoCo v2's, for each config: time, MACs, parameters, memory.

    python benchmarks/step_cost.py [--batch 8 --rounds 12 --threads 2 --device cpu --out benchmarks/results/step_cost]

A step is online forward, target forward, loss, backward, SGD, queue and momentum update on random 224-pixel views.
The configs' steps are interleaved (A B A B ...), so that what else the machine does falls on all of them; a ratio is
the median over rounds of a config's time over MoCo v2's of the same round.
"""

import argparse
import json
import resource
import statistics
import sys
import time
from pathlib import Path

import torch
from mmengine import Config
from mmengine.registry import MODELS
from torch.utils.flop_counter import FlopCounterMode

ROOT = Path(__file__).resolve().parents[1]
CONFIGS = {'MoCo v2': 'configs/mocov2_r50.py', 'HCL': 'configs/mocov2_hcl_r50.py'}
SIZE = 224


class Step:
    """One config's training step on fixed random views."""

    def __init__(self, path: str, batch: int, device: str) -> None:
        cfg = Config.fromfile(ROOT / path)
        torch.manual_seed(0)
        self.model = MODELS.build(cfg.model).to(device)
        self.model.train()
        self.views = [torch.randn(batch, 3, SIZE, SIZE, device=device) for _ in range(2)]
        online = [p for p in self.model.parameters() if p.requires_grad]
        self.optimizer = torch.optim.SGD(online, lr=0.03, momentum=0.9, weight_decay=1e-4)
        self.device = device

    def __call__(self) -> float:
        """Seconds of one step."""
        self._wait()
        begin = time.perf_counter()
        losses = self.model(self.views, mode='loss')
        total = sum(value for key, value in losses.items() if 'loss' in key)
        self.optimizer.zero_grad()
        total.backward()
        self.optimizer.step()
        self._wait()
        return time.perf_counter() - begin

    def macs(self) -> dict[str, float]:
        """Multiply-accumulates per image of one online forward, in billions."""
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            features = self.model.backbone(self.views[0])
        backbone = counter.get_total_flops()
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            for branch in self.model.branches.values():
                branch.neck(features)
        scale = 2e9 * len(self.views[0])
        return dict(backbone=backbone / scale, necks=counter.get_total_flops() / scale)

    def parameters(self) -> dict[str, float]:
        """Millions of online parameters."""
        necks = sum(p.numel() for branch in self.model.branches.values() for p in branch.neck.parameters())
        return dict(backbone=sum(p.numel() for p in self.model.backbone.parameters()) / 1e6, necks=necks / 1e6)

    def _wait(self) -> None:
        if self.device != 'cpu':
            torch.cuda.synchronize()


def measure(batch: int, rounds: int, device: str) -> list[dict]:
    """A row a config, MoCo v2 first."""
    steps = {name: Step(path, batch, device) for name, path in CONFIGS.items()}
    times = {name: [] for name in steps}
    for round_ in range(rounds + 2):
        for name, step in steps.items():
            seconds = step()
            if round_ >= 2:  # warm-up
                times[name].append(seconds)
        print(f'round {round_ + 1} of {rounds + 2}', file=sys.stderr)
    rows = []
    for name, step in steps.items():
        ratios = sorted(mine / base for mine, base in zip(times[name], times['MoCo v2'], strict=True))
        rows.append(
            dict(
                name=name,
                config=CONFIGS[name],
                seconds=statistics.median(times[name]),
                ratio=statistics.median(ratios),
                ratio_quartiles=statistics.quantiles(ratios, n=4)[::2],
                macs=step.macs(),
                parameters=step.parameters(),
            )
        )
    return rows


def table(rows: list[dict]) -> str:
    lines = [
        '| step | time over MoCo v2 (quartiles) | forward MACs, backbone + necks | over MoCo v2 | neck parameters |',
        '|---|---|---|---|---|',
    ]
    base = sum(rows[0]['macs'].values())
    for row in rows:
        low, high = row['ratio_quartiles']
        macs, total = row['macs'], sum(row['macs'].values())
        lines.append(
            f'| {row["name"]} | {row["ratio"]:.3f} ({low:.3f} to {high:.3f}) | {macs["backbone"]:.3f} + '
            f'{macs["necks"]:.3f} G | {total / base:.3f} | {row["parameters"]["necks"]:.2f} M |'
        )
    return '\n'.join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--batch', type=int, default=8)
    parser.add_argument('--rounds', type=int, default=12)
    parser.add_argument('--threads', type=int, default=2)
    parser.add_argument('--device', default='cpu')
    parser.add_argument('--out', type=Path, default=ROOT / 'benchmarks/results/step_cost')
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    rows = measure(args.batch, args.rounds, args.device)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    setting = dict(batch=args.batch, rounds=args.rounds, threads=args.threads, device=args.device, size=SIZE)
    setting |= dict(torch=torch.__version__, peak_process_gib=round(peak, 2))
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.with_suffix('.json').write_text(json.dumps(dict(setting=setting, rows=rows), indent=1) + '\n')
    args.out.with_suffix('.md').write_text(table(rows) + '\n')
    print(table(rows))


if __name__ == '__main__':
    main()
