"""How many bytes a step moves between processes, counted and by formula, and what single items cost.

    python -m benchmarks.collectives [--worlds 1 2 4 8 --rounds 5 --traffic-only --out benchmarks/results/collectives]

Traffic: training steps at toy size in gloo processes. Every collective of torch.distributed is counted where it is
called and put down to the function of viewplug that asked for it. Bytes are those that a rank receives (and sends, the
patterns being symmetric) when the collective is done by the ring algorithm: (W - 1) S for a gather of S bytes a rank,
2 (W - 1) / W S for an all-reduce of S bytes, (W - 1) / W S on average for a broadcast or an all-to-all. As a check that
does not know the code, the bytes that crossed the machine's loopback device meanwhile are printed too, over the number
of ranks; other programs that talk over loopback add to them.

Items: see ``benchmarks/item_costs.py``; ``--traffic-only`` keeps those that the results hold.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
from mmengine.dist import get_rank, get_world_size
from mmengine.logging import MMLogger
from mmengine.model import MMDistributedDataParallel
from mmengine.runner import Runner
from torch import distributed, multiprocessing
from torch.utils.data import DataLoader

from benchmarks import scale_formulas as formula
from benchmarks.item_costs import item_costs, table_of_items
from benchmarks.record import write
from viewplug.datasets import ShapeScenes
from viewplug.evaluation.knn import evaluate_knn
from viewplug.frameworks import Siamese
from viewplug.heads import CPCHead
from viewplug.hooks import LocalizationHook
from viewplug.hooks.view_heatmaps import ViewHeatmaps
from viewplug.transforms import META_KEYS
from viewplug.views import ViewGeometry

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = str(ROOT / 'viewplug')
N, D, SIZE, IMAGES, BANK, K, GRID = 8, 16, 32, 21, 40, 5, 4
POSITIONS, PROTOTYPES, PATCHES = 2 * 2, 48, 3 * 3
CHANNELS = 600  # of batch norm, in a ResNet-18 an eighth as wide
DDP, AVERAGE = 'DDP gradients', 'running_stats.py:average_running_stats'


class Counter:
    """Bytes by the function that asked for them; use as a context."""

    RING = dict(
        all_gather=formula.gather,
        all_reduce=formula.all_reduce,
        broadcast=formula.broadcast,
        all_to_all_single=formula.all_to_all,
    )
    TENSOR = dict(all_gather=1, all_reduce=0, broadcast=0, all_to_all_single=1)

    def __enter__(self) -> Counter:
        self.bytes: dict[str, float] = {}
        self.kept = {name: getattr(distributed, name) for name in self.RING}
        for name, function in self.kept.items():
            setattr(distributed, name, self._counting(name, function))
        return self

    def __exit__(self, *error) -> None:
        for name, function in self.kept.items():
            setattr(distributed, name, function)

    def _counting(self, name: str, function: Callable) -> Callable:
        def counted(*args, **kwargs):
            tensor = args[self.TENSOR[name]]
            asker = _asker()
            moved = self.RING[name](get_world_size(), tensor.numel() * tensor.element_size())
            self.bytes[asker] = self.bytes.get(asker, 0) + moved
            return function(*args, **kwargs)

        return counted


def _asker() -> str:
    """The first function of viewplug up the stack that is not a wrapper of a collective."""
    frame = sys._getframe(2)
    while frame is not None:
        path, name = frame.f_code.co_filename, frame.f_code.co_name
        wrapper = path.endswith(('ops/gather.py', 'evaluation/features.py')) and name != 'backward'
        if path.startswith(PACKAGE) and not wrapper:
            return f'{path.removeprefix(PACKAGE + "/")}:{name}'
        frame = frame.f_back
    return DDP


def moco() -> dict:
    head = dict(type='QueueHead', queue_len=64, feat_dim=D, loss=dict(type='InfoNCELoss'))
    return dict(
        branches=dict(image=dict(neck=dict(type='MLPNeck', out_channels=D), head=head)),
        target=dict(type='MomentumTarget', shuffle_bn=True),
    )


def simclr() -> dict:
    head = dict(type='InBatchHead', loss=dict(type='InfoNCELoss'))
    return dict(
        branches=dict(image=dict(neck=dict(type='MLPNeck', out_channels=D), head=head)),
        target=dict(type='SharedTarget'),
        online_views=(0, 1),
        target_views=(0, 1),
        joint_views=True,
    )


def byol() -> dict:
    head = dict(type='PredictHead', predictor=dict(type='MLPNeck', normalize=False))
    return dict(
        branches=dict(image=dict(neck=dict(type='MLPNeck', out_channels=D, normalize=False), head=head)),
        target=dict(type='MomentumTarget', eman=True),
        online_views=(0, 1),
        target_views=(0, 1),
    )


def resim() -> dict:
    """On MoCo without ShuffleBN; a map of 4 x 4 positions, of which averages of 3 x 3 are the negatives."""
    parts = moco()
    head = dict(type='RegionHead', window=16, stride=8, downsample=8, feat_dim=D, input_size=SIZE, gather=True)
    region = dict(neck=dict(type='RegionNeck', stages=(8,), hidden_channels=D, out_channels=D), head=head)
    parts['branches']['region'] = region
    return dict(parts, target=dict(type='MomentumTarget'))


def dino() -> dict:
    """With a second head on the same projection, as iBOT's and ADCLR's, which has a centre of its own."""
    neck = dict(type='DINONeck', out_channels=PROTOTYPES, hidden_channels=D, bottleneck_channels=D)
    head = dict(type='DistillHead', warmup_epochs=0)
    both = dict(online_views=(0, 1), target_views=(0, 1))
    branches = dict(cls=dict(neck=neck, head=head), second=dict(neck='cls', head=head))
    return dict(branches=branches, target=dict(type='MomentumTarget'), **both)


MODELS = dict(moco=moco, simclr=simclr, byol=byol, resim=resim, dino=dino)


def model_of(method: str) -> Siamese:
    backbone = dict(type='mmpretrain.ResNet', depth=18, stem_channels=8, base_channels=8, out_indices=(1, 3))
    model = Siamese(backbone=backbone, **MODELS[method]())
    model.init_weights()
    return model


def training_step(method: str) -> Callable[[], None]:
    """A function that takes one step; its collectives are all that a Runner's step has."""
    model = model_of(method)
    wrapped = model
    if get_world_size() > 1:
        wrapped = MMDistributedDataParallel(model, device_ids=None, broadcast_buffers=False)
        # The default reduction is called from C++; this one is the same from Python.
        from torch.distributed.algorithms.ddp_comm_hooks.default_hooks import allreduce_hook

        wrapped.register_comm_hook(None, allreduce_hook)
    views = [torch.randn(N, 3, SIZE, SIZE) for _ in range(2)]
    whole = ViewGeometry(torch.tensor([0.0, 0.0, 1.0, 1.0]).repeat(N, 2, 1), torch.zeros(N, 2, dtype=torch.bool))
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.01)

    def step() -> None:
        losses = wrapped(views, None, mode='loss', geometry=whole)
        optimizer.zero_grad()
        sum(value for key, value in losses.items() if 'loss' in key).backward()
        optimizer.step()

    step.gradients = sum(p.numel() for p in model.parameters() if p.requires_grad)
    return step


def cpc() -> None:
    """The head's loss of patches 3 x 3, and its gradient."""
    target = torch.randn(N, D, 3, 3, requires_grad=True)
    CPCHead(D, offsets=(1,)).loss(dict(down=torch.randn(N, D, 3, 3)), target)['loss'].backward()


def knn() -> None:
    """KNNHook's search, backbone of 64 channels."""
    pipeline = [dict(type='mmpretrain.PackInputs')]
    loaders = [
        DataLoader(
            ShapeScenes(num_images=number, image_size=SIZE, pipeline=pipeline),
            4,
            collate_fn=lambda samples: dict(
                inputs=torch.stack([sample['inputs'] for sample in samples]),
                data_samples=[sample['data_samples'] for sample in samples],
            ),
        )
        for number in (BANK, IMAGES)
    ]
    evaluate_knn(model_of('byol'), *loaders, k=K)


def box_update() -> None:
    """A run of one epoch that begins with LocalizationHook's update."""
    crop = dict(type='viewplug.ContrastiveCrop', scale=SIZE)
    pipeline = [
        dict(type='viewplug.MultiView', num_views=2, transforms=[[crop]]),
        dict(type='mmpretrain.PackInputs', meta_keys=META_KEYS),
    ]
    model = model_of('byol')
    model.target.eman = False  # or its steps would be counted
    with tempfile.TemporaryDirectory() as folder:
        runner = Runner(
            model=model,
            work_dir=folder,
            experiment_name=f'collectives_{get_world_size()}',
            train_dataloader=dict(
                batch_size=2,
                drop_last=True,  # batch norm
                num_workers=0,
                sampler=dict(type='DefaultSampler', shuffle=True),
                collate_fn=dict(type='default_collate'),
                dataset=ShapeScenes(num_images=IMAGES, image_size=SIZE, pipeline=pipeline),
            ),
            optim_wrapper=dict(optimizer=dict(type='SGD', lr=0.0)),
            custom_hooks=[LocalizationHook(start=0, interval=1)],
            default_hooks=dict(checkpoint=None, logger=None),
            train_cfg=dict(by_epoch=True, max_epochs=1),
            log_level='ERROR',
        )
        runner.train()


def merged_maps() -> None:
    """What source='views' adds to an update."""
    ViewHeatmaps(IMAGES, GRID).merge()


def formulas(w: int, parameters: dict[str, int]) -> dict[str, dict[str, float]]:
    """Bytes that a rank receives by case and asker."""
    keys = formula.shuffle_keys(w, N, D)
    return dict(
        moco={
            'heads/queue.py:update': formula.queue(w, N, D),
            'ops/shuffle.py:shuffle': formula.shuffle_images(w, N, SIZE),
            'ops/shuffle.py:unshuffle': keys,
            DDP: formula.gradients(w, parameters['moco']),
        },
        simclr={
            'heads/in_batch.py:loss': formula.in_batch_forward(w, N, D),
            'ops/gather.py:backward': formula.in_batch_backward(w, N, D),
            DDP: formula.gradients(w, parameters['simclr']),
        },
        byol={
            AVERAGE: formula.running_stats(w, CHANNELS),
            DDP: formula.gradients(w, parameters['byol']),
        },
        resim={
            'heads/queue.py:update': formula.queue(w, N, D),
            'heads/region.py:_negatives': formula.regions(w, N, POSITIONS, D),
            'heads/region.py:loss': formula.region_counts(w),
            DDP: formula.gradients(w, parameters['resim']),
        },
        dino={
            'heads/distill.py:update': formula.centres(w, PROTOTYPES, heads=2),
            DDP: formula.gradients(w, parameters['dino']),
        },
        cpc={
            'heads/cpc.py:loss': formula.cpc_forward(w, N, PATCHES, D),
            'ops/gather.py:backward': formula.cpc_backward(w, N, PATCHES, D),
        },
        knn={
            'evaluation/knn.py:evaluate_knn': formula.knn(w, IMAGES, 64, K),
            AVERAGE: formula.running_stats(w, 2 * CHANNELS),  # online and target
        },
        boxes={
            'hooks/localization.py:_update_if_due': formula.box_update(w, IMAGES),
            AVERAGE: formula.running_stats(w, 2 * CHANNELS),
        },
        maps={'hooks/view_heatmaps.py:merge': formula.merged_maps(w, IMAGES, GRID)},
    )


def loopback() -> int:
    """Bytes received on the loopback device since the machine started; 0 where that cannot be read."""
    try:
        lines = Path('/proc/net/dev').read_text().splitlines()
        return next(int(line.split(':')[1].split()[0]) for line in lines if line.strip().startswith('lo:'))
    except (OSError, StopIteration):
        return 0


def count_on_a_rank(rounds: int) -> list[dict]:
    """A row for each case and asker, of rank 0."""
    steps = {method: training_step(method) for method in MODELS}
    w, rows = get_world_size(), []
    expected = formulas(w, {method: step.gradients for method, step in steps.items()})
    for case, function in dict(steps, cpc=cpc, knn=knn, boxes=box_update, maps=merged_maps).items():
        repeats = rounds if case in MODELS or case in ('cpc', 'maps') else 1
        for _ in range(2 if case in MODELS else 0):
            function()  # DDP's buckets are ordered anew after the first backward
        _meet()
        before = loopback()
        with Counter() as counter:
            for _ in range(repeats):
                function()
        _meet()
        wire = (loopback() - before) / w / repeats
        found = {asker: moved / repeats for asker, moved in counter.bytes.items()}
        if case not in MODELS:
            found.pop(DDP, None)  # the Runner shares the first weights
        for asker in sorted({*found, *(name for name, value in expected[case].items() if value)}):
            pair = dict(counted=found.get(asker, 0), formula=expected[case].get(asker, 0))
            rows.append(dict(world=w, case=case, part=asker, **pair))
        if w > 1 and case in MODELS:
            total = sum(expected[case].values())
            rows.append(dict(world=w, case=case, part='all, on loopback', counted=wire, formula=total))
    return rows


def _meet() -> None:
    if get_world_size() > 1:
        distributed.barrier()
        time.sleep(0.05)  # packets of the barrier itself are still under way when it returns
        distributed.barrier()


def _rank(rank: int, world: int, folder: str, rounds: int) -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    MMLogger.get_instance('collectives', log_level='ERROR')
    if world > 1:
        distributed.init_process_group('gloo', init_method=f'file://{folder}/meet', rank=rank, world_size=world)
    rows = count_on_a_rank(rounds)
    if get_rank() == 0:
        Path(folder, 'rows.json').write_text(json.dumps(rows))
    if world > 1:
        distributed.destroy_process_group()


def count(world: int, rounds: int) -> list[dict]:
    """Rows of ``world`` processes."""
    with tempfile.TemporaryDirectory() as folder:
        multiprocessing.start_processes(_rank, (world, folder, rounds), nprocs=world, start_method='fork')
        return json.loads(Path(folder, 'rows.json').read_text())


def size_text(number: float) -> str:
    return f'{number:,.0f}'


def table(rows: list[dict]) -> str:
    lines = ['| case | part | W | bytes a rank receives | formula | ratio |', '|---|---|---|---|---|---|']
    for row in rows:
        ratio = f'{row["counted"] / row["formula"]:.3f}' if row['formula'] else '-'
        lines.append(
            f'| {row["case"]} | `{row["part"]}` | {row["world"]} | {size_text(row["counted"])} | '
            f'{size_text(row["formula"])} | {ratio} |'
        )
    return '\n'.join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--worlds', type=int, nargs='+', default=[1, 2, 4, 8])
    parser.add_argument('--rounds', type=int, default=5)
    parser.add_argument('--traffic-only', action='store_true', help='keep the items that the results hold')
    parser.add_argument('--out', type=Path, default=ROOT / 'benchmarks/results/collectives')
    args = parser.parse_args()
    torch.set_num_threads(1)
    costs = json.loads(args.out.with_suffix('.json').read_text())['items'] if args.traffic_only else item_costs()
    rows = [row for world in args.worlds for row in count(world, args.rounds)]
    setting = dict(batch=N, feat_dim=D, size=SIZE, images=IMAGES, bank=BANK, k=K, grid=GRID, rounds=args.rounds)
    setting |= dict(positions=POSITIONS, prototypes=PROTOTYPES, patches=PATCHES, torch=torch.__version__, threads=1)
    text = f'{table(rows)}\n\n{table_of_items(costs)}'
    write(args.out, dict(setting=setting, traffic=rows, items=costs), text)
    print(text)
    wrong = [row for row in rows if 'loopback' not in row['part'] and abs(row['counted'] - row['formula']) > 1e-6]
    if wrong:
        raise SystemExit(f'{len(wrong)} counts are not what the formula says: {wrong}')


if __name__ == '__main__':
    main()
