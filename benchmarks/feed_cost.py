"""How much of a training step's throughput is left when viewplug.BatchViews makes its views.

    python benchmarks/feed_cost.py --device cuda [--amp bf16 --sizes 32 96 224 --batch 512 512 256 --rounds 20]

Fed is a step of MoCo v2 as a run with `views='device', in_memory=True` takes it: a batch of uint8 images out of the
config's own loader, two views of each by its data preprocessor, both forwards, loss, backward, SGD, queue and momentum
update. Constant is the same step of the same model on views that were made once. The two are interleaved (A B A B ...);
the share is the median over rounds of the constant step's time over the fed one's of the same round. On a GPU the loss
is read once after each step, as mmengine's log reads it, so that no feed hides behind the GPU's work on the step
before, and once when the log is written (`viewplug.LateRuntimeInfoHook`), here at the end of a round. A CPU waits
anyway.

Images are rendered scenes as large as the config's: 32 px, 96 px, and 256 px for views of 224. The queue is full from
the first step on, and the target is the one of README for one GPU (EMAN in place of ShuffleBN).
"""

import argparse
import statistics
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import torch
from mmengine import Config
from mmengine.model import BaseDataPreprocessor
from mmengine.optim import build_optim_wrapper
from mmengine.registry import MODELS
from mmengine.runner import Runner

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT)]

from benchmarks.record import default_out, device_name, write  # noqa: E402
from benchmarks.suite.timing import WARM_UP, ratio, waiter  # noqa: E402
from viewplug.amp import set_amp  # noqa: E402
from viewplug.batch_views import to_device_views  # noqa: E402
from viewplug.devices import usable_device  # noqa: E402
from viewplug.host_memory import keep_freed_memory  # noqa: E402

# By size of the views; batches on a CPU are small, on a GPU the config's own.
WORK = {
    32: dict(name='ResNet-18', config='configs/cifar10/mocov2_r18.py', image=32, batch=dict(cpu=64, cuda=512)),
    96: dict(
        name='ResNet-18', config='configs/contrastive_crop/stl10/moco_rcrop.py', image=96, batch=dict(cpu=16, cuda=512)
    ),
    224: dict(name='ResNet-50', config='configs/mocov2_r50.py', image=256, batch=dict(cpu=8, cuda=256)),
}
EPOCH = 4  # batches
READS = EACH, LATE = 'after each step', 'with the log'


class FedStep:
    """One model's training step, on a batch of the loader or on views made once.

    Args:
        work: of ``WORK``.
        batch: images of a step.
        device: 'cpu' or 'cuda'.
        amp: 'bf16', 'fp16' or None.
    """

    def __init__(self, work: dict, batch: int, device: str, amp: str | None = None) -> None:
        cfg = fed_config(work, batch, device, amp)
        torch.backends.cudnn.benchmark = cfg.env_cfg.cudnn_benchmark
        torch.manual_seed(0)
        loader = Runner.build_dataloader(cfg.train_dataloader, seed=0)
        self.model = MODELS.build(cfg.model).to(device).train()
        self.optim_wrapper = build_optim_wrapper(self.model, cfg.optim_wrapper)
        self.batches = endless(loader)
        self.views = self.model.data_preprocessor
        self.constant = MadeOnce(self.views(next(self.batches), True))

    def __call__(self, fed: bool) -> torch.Tensor:
        """The loss, not read yet."""
        self.model.data_preprocessor = self.views if fed else self.constant
        log = self.model.train_step(next(self.batches) if fed else None, self.optim_wrapper)
        return log['loss'].detach()


class MadeOnce(BaseDataPreprocessor):
    """Gives the same batch of views at every step."""

    def __init__(self, made: dict) -> None:
        super().__init__()
        self.made = made

    def forward(self, data: None, training: bool = False) -> dict:
        return self.made


def fed_config(work: dict, batch: int, device: str, amp: str | None) -> Config:
    """The config on rendered scenes in memory, views made in batch."""
    cfg = Config.fromfile(ROOT / work['config'])
    loader = cfg.train_dataloader
    pipeline = [step for step in loader.dataset.pipeline if not step.type.startswith('Load')]
    scenes = dict(type='viewplug.ShapeScenes', num_images=EPOCH * batch, image_size=work['image'], pipeline=pipeline)
    loader.batch_size, loader.dataset = batch, scenes
    to_device_views(cfg, in_memory=True)
    loader.dataset.device = device
    cfg.model.data_preprocessor = cfg.data_preprocessor
    cfg.model.target.update(shuffle_bn=False, eman=True)
    cfg.model.branches.image.head.start = 'random'
    if amp:
        set_amp(cfg, amp, device == 'cuda')
    return cfg


def endless(loader) -> Iterator:
    while True:
        yield from loader


def measure(size: int, batch: int, rounds: int, steps: int, device: str, amp: str | None) -> list[dict]:
    """The rows of one size."""
    step, wait = FedStep(WORK[size], batch, device, amp), waiter(device)
    reads = READS[:1] if device == 'cpu' else READS
    seconds = {(read, fed): [] for read in reads for fed in (True, False)}
    for round_ in range(WARM_UP + rounds):
        for read, fed in seconds:
            wait()
            begin, losses = time.perf_counter(), []
            for _ in range(steps):
                losses.append(step(fed))
                if read == EACH:
                    losses[-1].item()
            wait()
            if round_ >= WARM_UP:
                seconds[read, fed].append((time.perf_counter() - begin) / steps)
        print(f'{size} px, round {round_ + 1} of {WARM_UP + rounds}', file=sys.stderr)
    return [row(size, batch, read, seconds[read, True], seconds[read, False]) for read in reads]


def row(size: int, batch: int, read: str, fed: list[float], constant: list[float]) -> dict:
    """
    Args:
        read: when losses were read.
        fed, constant: seconds of a step in each round.
    """
    share = ratio(constant, fed)
    return dict(
        size=size,
        read=read,
        name=WORK[size]['name'],
        config=WORK[size]['config'],
        batch=batch,
        share_percent=100 * share.median,
        share_quartiles=[100 * share.low, 100 * share.high],
        images_per_second=dict(fed=batch / statistics.median(fed), constant=batch / statistics.median(constant)),
    )


def table(rows: list[dict]) -> str:
    lines = [
        '| step | loss read | throughput left, percent (quartiles) | images/s, fed | images/s, constant views |',
        '|---|---|---|---|---|',
    ]
    for one in rows:
        low, high = one['share_quartiles']
        fed, constant = one['images_per_second'].values()
        lines.append(
            f'| {one["name"]}, {one["size"]} px, batch {one["batch"]} | {one["read"]} | {one["share_percent"]:.1f} '
            f'({low:.1f} to {high:.1f}) | {fed:.1f} | {constant:.1f} |'
        )
    return '\n'.join(lines)


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--sizes', type=int, nargs='+', choices=list(WORK), default=list(WORK), help='of views, px')
    parser.add_argument('--batch', type=int, nargs='+', help='images of a step, one number or one for each size')
    parser.add_argument('--rounds', type=int, default=20, help='that count; two or more')
    parser.add_argument('--steps', type=int, help='of each kind in a round (default: 10 on a GPU, 1 on a CPU)')
    parser.add_argument('--device', type=usable_device, choices=('cpu', 'cuda'), default='cpu')
    parser.add_argument('--amp', choices=('bf16', 'fp16'), help='mixed precision; a CPU has bf16 only')
    parser.add_argument('--threads', type=int, default=2)
    parser.add_argument('--out', type=Path, help='default: benchmarks/results/feed_cost, with _cuda on a GPU')
    args = parser.parse_args(argv)
    batches = args.batch or [WORK[size]['batch'][args.device] for size in args.sizes]
    batches = batches * len(args.sizes) if len(batches) == 1 else batches
    if len(batches) != len(args.sizes):
        parser.error(f'--batch takes one number or {len(args.sizes)}, one for each of --sizes, got {len(batches)}')
    if args.amp == 'fp16' and args.device == 'cpu':
        parser.error('--amp fp16 is for GPUs; a CPU has --amp bf16')
    torch.set_num_threads(args.threads)
    steps = args.steps or (10 if args.device == 'cuda' else 1)
    if args.device == 'cpu':
        keep_freed_memory()  # as a run does
    rows = [
        one
        for size, batch in zip(args.sizes, batches, strict=True)
        for one in measure(size, batch, args.rounds, steps, args.device, args.amp)
    ]
    setting = dict(device=device_name(args.device), amp=args.amp)
    setting |= dict(rounds=args.rounds, steps=steps, threads=args.threads, torch=torch.__version__)
    write(args.out or default_out('feed_cost', args.device), dict(setting=setting, rows=rows), table(rows))
    print(table(rows))


if __name__ == '__main__':
    main()
