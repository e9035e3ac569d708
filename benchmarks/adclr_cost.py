"""What ADCLR's queries cost: a training step of ADCLR over one of DINO, time and multiply-accumulates.

    python benchmarks/adclr_cost.py [--queries 10 --batch 4 --rounds 12 --threads 2 --device cpu]

configs/adclr/dino_vit_small_in1k.py and adclr_vit_small_in1k.py: ViT-S/16, two global views of 224 and eight local
ones of 96 pixels, 65,536 prototypes. A step is online and target forward, loss, backward, AdamW, centre and momentum
update on random views. The two are interleaved (A B A B ...), so that what else the machine does falls on both; the
ratio is the median over rounds of ADCLR's time over DINO's of the same round, the first WARM_UP rounds left out. On a
CPU freed memory stays with the process, as in tools/train.py. MACs are counted of the same step, attention by its
plain products.
"""

import argparse
import statistics
import sys
import time
from pathlib import Path

import torch
from mmengine import Config
from mmengine.registry import MODELS, DefaultScope
from step_cost import quartiles
from step_macs import counted
from torch.nn.attention import SDPBackend, sdpa_kernel

from viewplug.devices import usable_device
from viewplug.host_memory import keep_freed_memory

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks.record import default_out, device_name, write  # noqa: E402

CONFIGS = dict(
    DINO='configs/adclr/dino_vit_small_in1k.py',
    ADCLR='configs/adclr/adclr_vit_small_in1k.py',
)
WARM_UP = 2


class Step:
    """One config's training step on random views."""

    def __init__(self, path: str, args: argparse.Namespace) -> None:
        cfg = Config.fromfile(ROOT / path).model
        cfg.target.total_steps = 10_000
        for branch in cfg.branches.values():
            branch.head.warmup_epochs = 0
            if args.prototypes and not isinstance(branch.neck, str):
                branch.neck.out_channels = args.prototypes
        torch.manual_seed(0)
        with DefaultScope.overwrite_default_scope('mmpretrain'):
            self.model = MODELS.build(cfg).to(args.device).train()
        sizes = [224, 224, *[96] * 8]
        self.views = [torch.randn(args.batch, 3, size, size, device=args.device) for size in sizes]
        queries = torch.randn(args.batch, args.queries, 3, 16, 16, device=args.device)
        self.extras = dict(queries=queries) if 'query' in cfg.branches else {}
        online = [p for p in self.model.parameters() if p.requires_grad]
        self.optimizer = torch.optim.AdamW(online, lr=1e-4, weight_decay=0.04)
        self.device, self.amp = args.device, args.amp

    def __call__(self) -> float:
        """Seconds of one step."""
        self._wait()
        begin = time.perf_counter()
        with torch.autocast(self.device, dtype=torch.bfloat16, enabled=self.amp):
            losses = self.model(self.views, mode='loss', **self.extras)
        sum(value for key, value in losses.items() if 'loss' in key).backward()
        self.optimizer.step()
        self.optimizer.zero_grad()
        self._wait()
        return time.perf_counter() - begin

    def macs(self) -> float:
        """Billions an image, of the whole step."""
        with sdpa_kernel(SDPBackend.MATH):
            return counted(self, len(self.views[0]))[0]

    def _wait(self) -> None:
        if self.device != 'cpu':
            torch.cuda.synchronize()


def measure(args: argparse.Namespace) -> dict:
    steps = {name: Step(path, args) for name, path in CONFIGS.items()}
    macs = {name: step.macs() for name, step in steps.items()}
    times = {name: [] for name in steps}
    for round_ in range(-WARM_UP, args.rounds):
        for name, step in steps.items():
            seconds = step()
            if round_ >= 0:
                times[name].append(seconds)
        print(f'round {round_ + 1} of {args.rounds}' if round_ >= 0 else 'warming up', file=sys.stderr)
    ratios = [mine / base for mine, base in zip(times['ADCLR'], times['DINO'], strict=True)]
    return dict(
        seconds={name: statistics.median(values) for name, values in times.items()},
        ratio=statistics.median(ratios),
        ratio_quartiles=quartiles(ratios),
        macs=macs,
        macs_ratio=macs['ADCLR'] / macs['DINO'],
    )


def table(found: dict) -> str:
    low, high = found['ratio_quartiles']
    seconds, macs = found['seconds'], found['macs']
    return '\n'.join(
        [
            "| step | median seconds | over DINO's (quartiles) | MACs an image | over DINO's |",
            '|---|---|---|---|---|',
            f'| DINO | {seconds["DINO"]:.2f} | 1 | {macs["DINO"]:.2f} G | 1 |',
            f'| ADCLR | {seconds["ADCLR"]:.2f} | {found["ratio"]:.3f} ({low:.3f} to {high:.3f}) | '
            f'{macs["ADCLR"]:.2f} G | {found["macs_ratio"]:.3f} |',
        ]
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--queries', type=int, default=10)
    parser.add_argument('--prototypes', type=int, help="in place of the configs' 65,536")
    parser.add_argument('--batch', type=int, default=4)
    parser.add_argument('--rounds', type=int, default=12)
    parser.add_argument('--threads', type=int, default=2)
    parser.add_argument('--device', type=usable_device, default='cpu')
    parser.add_argument('--amp', action='store_true', help='bfloat16 autocast')
    parser.add_argument('--out', type=Path, help='default: benchmarks/results/adclr_cost, with _cuda on a GPU')
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    if args.device == 'cpu':
        keep_freed_memory()
    found = measure(args)
    setting = {key: value for key, value in vars(args).items() if key != 'out'}
    setting |= dict(device=device_name(args.device), torch=torch.__version__)
    write(args.out or default_out('adclr_cost', args.device), dict(setting=setting, **found), table(found))
    print(table(found))


if __name__ == '__main__':
    main()
