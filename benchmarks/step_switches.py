"""What each switch of viewplug.StepSpeedHook does to the time of a training step.

    python benchmarks/step_switches.py [--rounds 12 --threads 2 --device cpu --out benchmarks/results/step_switches]
    python benchmarks/step_switches.py --device cuda --batch 512 128         # as many as a GPU has work with

A step of MoCo v2 is online forward, target forward, loss, backward, SGD, queue and momentum update on random views:
ResNet-18 on 32 px at batch 64, ResNet-50 on 224 px at batch 8, or at those of --batch. The plain step and those with a
switch are interleaved (A B A B ...); a ratio is the median over rounds of a switched step's time over the plain one's
of the same round. Compiling happens before, and its seconds stand apart. On a CPU freed memory is kept, as in
tools/train.py. bf16 (--amp) is no switch of the hook: it does change rounding.
"""

import argparse
import contextlib
import statistics
import sys
import time
from pathlib import Path

import torch
from mmengine import Config
from mmengine.registry import MODELS

from viewplug.devices import usable_device
from viewplug.hooks.step_speed import StepForward, backbones, check_fusable, fuse
from viewplug.host_memory import keep_freed_memory

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks.record import default_out, device_name, write  # noqa: E402

WORK = {
    'ResNet-18, 32 px': dict(config='configs/cifar10/mocov2_r18.py', size=32, batch=64),
    'ResNet-50, 224 px': dict(config='configs/mocov2_r50.py', size=224, batch=8),
}
HOOK = ('channels_last', 'fused_optimizer', 'compile_backbone')
SWITCHES = {'plain': (), **{name: (name,) for name in HOOK}, 'all three': HOOK, 'bf16': ('bf16',)}
SWITCHES['channels_last + bf16'] = ('channels_last', 'bf16')
WARM_UP = 2


class Step:
    """One model's training step on fixed random views, with some switches on."""

    def __init__(self, work: dict, switches: tuple[str, ...], device: str) -> None:
        cfg = Config.fromfile(ROOT / work['config'])
        torch.manual_seed(0)
        self.model = MODELS.build(cfg.model).to(device)
        self.model.train()
        self.views = [torch.randn(work['batch'], 3, work['size'], work['size'], device=device) for _ in range(2)]
        online = [p for p in self.model.parameters() if p.requires_grad]
        self.optimizer = torch.optim.SGD(online, lr=0.03, momentum=0.9, weight_decay=1e-4)
        self.device, self.bf16 = device, 'bf16' in switches
        if 'fused_optimizer' in switches:
            check_fusable(self.optimizer)
            fuse(self.optimizer)
        for forward in [StepForward(network) for network in backbones(self.model)]:
            forward.channels_last = 'channels_last' in switches
            if 'compile_backbone' in switches:
                forward.compile()
            if switches:
                forward.begin()

    def __call__(self) -> float:
        """Seconds of one step."""
        self._wait()
        begin = time.perf_counter()
        bf16 = torch.autocast(self.device, torch.bfloat16) if self.bf16 else contextlib.nullcontext()
        with bf16:
            losses = self.model(self.views, mode='loss')
        total = sum(value for key, value in losses.items() if 'loss' in key)
        total.backward()
        self.optimizer.step()
        self.optimizer.zero_grad()
        self._wait()
        return time.perf_counter() - begin

    def _wait(self) -> None:
        if self.device != 'cpu':
            torch.cuda.synchronize()


def measure(work: dict, rounds: int, device: str) -> list[dict]:
    """A row a set of switches, the plain step first."""
    steps = {name: Step(work, switches, device) for name, switches in SWITCHES.items()}
    first = {name: sum(step() for _ in range(WARM_UP)) for name, step in steps.items()}
    times = {name: [] for name in steps}
    for round_ in range(rounds):
        for name, step in steps.items():
            times[name].append(step())
        print(f'round {round_ + 1} of {rounds}', file=sys.stderr)
    rows = []
    for name in steps:
        ratios = [mine / plain for mine, plain in zip(times[name], times['plain'], strict=True)]
        rows.append(
            dict(
                name=name,
                seconds=statistics.median(times[name]),
                first_seconds=first[name],
                ratio=statistics.median(ratios),
                ratio_quartiles=statistics.quantiles(ratios, n=4)[::2],
            )
        )
    return rows


def table(results: dict[str, list[dict]], works: dict[str, dict]) -> str:
    lines = ['| step | switches | time over plain (quartiles) | ms | first two steps, s |', '|---|---|---|---|---|']
    for work, rows in results.items():
        step = f'{work}, batch {works[work]["batch"]}'
        for row in rows:
            low, high = row['ratio_quartiles']
            lines.append(
                f'| {step} | {row["name"]} | {row["ratio"]:.3f} ({low:.3f} to {high:.3f}) '
                f'| {1000 * row["seconds"]:.0f} | {row["first_seconds"]:.1f} |'
            )
    return '\n'.join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--rounds', type=int, default=12)
    parser.add_argument('--threads', type=int, default=2)
    parser.add_argument('--device', type=usable_device, default='cpu')
    usual = [work['batch'] for work in WORK.values()]
    parser.add_argument(
        '--batch', type=int, nargs=2, metavar=('R18', 'R50'), default=usual, help='images of a step of each network'
    )
    parser.add_argument('--out', type=Path, help='default: benchmarks/results/step_switches, with _cuda on a GPU')
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    if args.device == 'cpu':
        keep_freed_memory()
    works = {name: {**work, 'batch': batch} for (name, work), batch in zip(WORK.items(), args.batch, strict=True)}
    setting = dict(rounds=args.rounds, threads=args.threads, device=device_name(args.device), torch=torch.__version__)
    out, results = args.out or default_out('step_switches', args.device), {}
    for name, work in works.items():  # written after each: compiling and bf16 without its instructions take minutes
        results[name] = measure(work, args.rounds, args.device)
        write(out, dict(setting=setting, work=works, results=results), table(results, works))
    print(table(results, works))


if __name__ == '__main__':
    main()
