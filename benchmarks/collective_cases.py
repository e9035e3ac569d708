"""What moves bytes between processes at toy size: training steps, kNN, box updates; and the bytes by formula."""

from __future__ import annotations

import tempfile
from collections.abc import Callable

import torch
from mmengine.dist import get_world_size
from mmengine.model import MMDistributedDataParallel
from mmengine.runner import Runner
from torch.utils.data import DataLoader

from benchmarks import scale_formulas as formula
from benchmarks.toy_methods import MODELS, PROTOTYPES, SIZE, D
from benchmarks.traffic_counter import DDP
from viewplug.datasets import ShapeScenes
from viewplug.evaluation.knn import evaluate_knn
from viewplug.frameworks import Siamese
from viewplug.heads import CPCHead
from viewplug.hooks import LocalizationHook
from viewplug.hooks.view_heatmaps import ViewHeatmaps
from viewplug.transforms import META_KEYS
from viewplug.views import ViewGeometry

N, IMAGES, BANK, K, GRID = 8, 21, 40, 5, 4
POSITIONS, PATCHES = 2 * 2, 3 * 3
CHANNELS = 600  # of batch norm, in a ResNet-18 an eighth as wide
SETTING = dict(
    batch=N,
    feat_dim=D,
    size=SIZE,
    images=IMAGES,
    bank=BANK,
    k=K,
    grid=GRID,
    positions=POSITIONS,
    prototypes=PROTOTYPES,
    patches=PATCHES,
)
AVERAGE = 'running_stats.py:average_running_stats'


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


OTHERS = dict(cpc=cpc, knn=knn, boxes=box_update, maps=merged_maps)


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
