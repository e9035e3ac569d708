"""Runs on a GPU that is pretended: the same weights as on a CPU, no mixing of devices, no waiting inside a step."""

import contextlib
from argparse import Namespace
from collections import Counter
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
import torch
from mmengine.runner import EpochBasedTrainLoop
from mmpretrain.structures import DataSample
from pretend_gpu import GpuTensor, pretend_gpu

from viewplug.batch_views import BatchViews, ViewsDataPreprocessor
from viewplug.batch_views.view import OPERATORS
from viewplug.datasets import InMemoryDataset, ShapeScenes
from viewplug.hooks.view_heatmaps import ViewHeatmaps
from viewplug.launch import train
from viewplug.ops.heatmap_boxes import localise
from viewplug.views import ViewGeometry

ROOT = Path(__file__).resolve().parents[1]
TINY = {
    'train_dataloader.batch_size': 8,
    'train_dataloader.num_workers': 0,
    'train_dataloader.dataset.num_images': 24,
    'train_dataloader.dataset.image_size': 32,
    'custom_hooks.0.train_dataloader.dataset.num_images': 24,
    'custom_hooks.0.val_dataloader.dataset.num_images': 24,
    'default_hooks.checkpoint.interval': 1,
}
NARROW = {'model.backbone.base_channels': 4, 'model.backbone.stem_channels': 4}
# mmengine reads each number of the log, the norm of clipped gradients among them.
LOG = 'value = value.item()'
# Where else an iteration may wait, and how often: batches of a loader are copied, and mmpretrain reorders their
# channels by a list, which is on the CPU.
LOADER = {
    'return data.to(self.device, non_blocking=self._non_blocking)': 2,
    'batch_inputs = batch_inputs[:, [2, 1, 0], ...]': 1,
    '_input[:, [2, 1, 0], ...] for _input in batch_inputs': 1,
}
DEMOS = {
    'mocov2_hcl_r50': (NARROW, {}),
    'contrastive_crop/cifar10/moco_ccrop': (NARROW, {}),
    'mocov1_r50': ({**NARROW, 'speed.fused_optimizer': True}, {}),
    'byol_r50': (NARROW, {}),
    'simsiam_r50': (NARROW, {}),
    'simclr/table3_noise': (NARROW, {}),
    'resim/mocov2_ccrop_hcl_resim_r50': (NARROW, {}),
    'adclr/adclr_ibot_vit_small_in1k': ({}, {}),
    'cpc/cpc_v2_r50': ({}, LOADER),
    'pretext/jigsaw_r50': ({}, LOADER),
}
# torch has attention kernels by device, and picks.
ATTENTION = {f'aten::_scaled_dot_product_flash_attention_for_cpu{part}' for part in ('', '_backward')}
# Each for a part of the images.
EVERYTHING = [
    dict(
        type='RandomApply', transforms=[dict(type='ColorJitter', brightness=0.4, contrast=0.4, saturation=0.4, hue=0.1)]
    ),
    dict(type='RandomFlip', prob=0.5),
    dict(type='RandomGrayscale', prob=0.3, keep_channels=True),
    dict(type='GaussianBlur', magnitude_range=(0.1, 2.0), magnitude_std='inf', prob=0.5),
    dict(type='Solarize', thr=128, prob=0.5),
    dict(type='Rotate', angle=30.0, prob=0.5),
    dict(type='QuarterTurn', prob=0.5),
    dict(type='Cutout', shape=8, prob=0.5),
    dict(type='GaussianNoise', std=9.0, prob=0.5),
    dict(type='Sobel', prob=0.3),
]


def demo(config: str, work_dir: Path, options: dict, amp: str | None = None) -> Namespace:
    return Namespace(
        config=str(ROOT / f'configs/{config}.py'),
        work_dir=str(work_dir),
        cfg_options={**TINY, **options},
        amp=amp,
        demo=True,
        epochs=1,
        stages=False,
        data_root=None,
        resume=None,
        launcher='none',
    )


def trained(args: Namespace) -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    train(args)
    return torch.load(Path(args.work_dir) / 'epoch_1.pth', weights_only=False)['state_dict']


@contextlib.contextmanager
def waits_of_an_iteration(gpu):
    """How often each line waits from the second batch's step to the third's: hooks, log and loader included."""
    found, starts, run_iter = Counter(), [], EpochBasedTrainLoop.run_iter

    def watched(self, *args, **kwargs):
        starts.append(len(gpu.waits))
        run_iter(self, *args, **kwargs)

    with mock.patch.object(EpochBasedTrainLoop, 'run_iter', watched):
        yield found
    found.update(line.split(' ', 1)[1] for line in gpu.waits[starts[1] : starts[2]])


def has_cuda_kernel(operator) -> bool:
    """A torch built for GPUs knows without one; one built for CPUs cannot be asked."""
    keys = ('CUDA', 'CompositeExplicitAutograd', 'CompositeExplicitAutogradNonFunctional', 'CompositeImplicitAutograd')
    has = torch._C._dispatch_has_kernel_for_dispatch_key
    return torch.version.cuda is None or any(has(operator.name(), key) for key in keys)


@pytest.mark.parametrize('config', DEMOS)
def test_a_run_takes_the_steps_of_a_cpu_and_does_not_wait_for_them(config, tmp_path):
    options, excused = DEMOS[config]
    expected = trained(demo(config, tmp_path / 'cpu', options))
    with pretend_gpu() as gpu, waits_of_an_iteration(gpu) as waits:
        found = trained(demo(config, tmp_path / 'gpu', options))
    assert gpu.waits  # its log at least has read the loss
    assert waits.pop(LOG) and waits == excused
    assert {operator.name() for operator in gpu.operators if not has_cuda_kernel(operator)} <= ATTENTION
    assert found.keys() == expected.keys()
    for key, value in expected.items():
        assert not isinstance(found[key], GpuTensor)
        torch.testing.assert_close(found[key], value, rtol=0, atol=0, msg=key)


@pytest.mark.parametrize(
    ('precision', 'excused'), [('bf16', {}), ('fp16', {'self.loss_scaler.step(self.optimizer, **kwargs)': 1})]
)
def test_only_fp16_needs_to_look_for_infinities_at_every_step(precision, excused, tmp_path):
    with pretend_gpu() as gpu, waits_of_an_iteration(gpu) as waits:
        weights = trained(demo('mocov2_r50', tmp_path, NARROW, amp=precision))
    assert waits.pop(LOG) and waits == excused
    assert all(value.isfinite().all() for value in weights.values() if value.is_floating_point())


def cutter(device: str, crop: dict, steps=EVERYTHING, **settings) -> BatchViews:
    views = BatchViews([[crop, *steps]], 2, mean=[120.0] * 3, std=[60.0] * 3, **settings).to(device)
    if crop['type'] == 'ContrastiveCrop':
        views.views[0].crop.box_store.write(np.float32([[0.1, 0.2, 0.7, 0.9]] * 6))
    return views


def cut(views: BatchViews, images: torch.Tensor) -> dict:
    torch.manual_seed(0)
    return views(dict(inputs=images, sample_idx=torch.arange(6)), training=True)


CUT = dict(type='RandomResizedCrop', scale=32, backend='pillow')
SMALL = dict(num=3, transforms=[dict(CUT, scale=8)])


def test_every_operator_of_views_in_batch_is_tried_below():
    assert {step['type'] for step in EVERYTHING} | {'ColorJitter'} == set(OPERATORS)


@pytest.mark.parametrize(
    'settings',
    [
        dict(crop=CUT, queries=SMALL, masks=dict(grid=4), shared_flip=0.5),
        dict(crop=dict(CUT, type='ContrastiveCrop', backend='cv2')),
        dict(crop=dict(CUT, interpolation='bicubic')),
    ],
)
def test_views_in_batch_are_those_of_a_cpu_with_every_operator_and_no_waiting(settings):
    images = torch.randint(0, 256, (6, 3, 40, 40), dtype=torch.uint8)
    expected = cut(cutter('cpu', **settings), images)
    with pretend_gpu() as gpu:
        views, there = cutter('cuda', **settings), images.cuda()
        gpu.waits.clear()
        found = cut(views, there)
        assert not gpu.waits
        assert all(view.is_cuda for view in found['inputs']) and found['geometry'].boxes.is_cuda
        found = {key: on_host(value) for key, value in found.items()}
    assert found.keys() == expected.keys()
    for key, value in expected.items():
        torch.testing.assert_close(found[key], on_host(value), rtol=0, atol=1e-5, msg=key)


def on_host(value):
    """Tensors of a batch that can be compared."""
    if isinstance(value, ViewGeometry):
        return value.boxes.cpu(), value.flips.cpu()
    return [view.cpu() for view in value] if isinstance(value, list) else value if value is None else value.cpu()


def test_large_views_differ_from_a_cpus_by_rounding_only():
    images = torch.randint(0, 256, (6, 3, 90, 90), dtype=torch.uint8)
    images = torch.nn.functional.avg_pool2d(images.float(), 9, 1, 4).to(torch.uint8)
    settings = dict(crop=dict(CUT, scale=64), steps=[dict(type='RandomFlip', prob=0.5)])
    expected = cut(cutter('cpu', **settings), images)['inputs']
    with pretend_gpu():
        found = on_host(cut(cutter('cuda', **settings), images.cuda())['inputs'])
    difference = (torch.stack(found) - torch.stack(expected)).abs() * 60  # of pixels in [0, 255]
    assert 0 < difference.max() < 2 and difference.mean() < 0.5


@pytest.mark.parametrize('training', [False, True])
@pytest.mark.parametrize('kind', ['sample', 'device'])
def test_what_sizes_are_read_from_and_labels_stay_on_the_cpu(kind, training):
    samples = [DataSample().set_gt_label(2) for _ in range(6)]
    masks, images = torch.rand(6, 2, 4, 4) > 0.5, torch.randint(0, 256, (6, 3, 40, 40), dtype=torch.uint8)
    with pretend_gpu() as gpu:
        preprocessor = (cutter('cpu', CUT) if kind == 'device' else ViewsDataPreprocessor()).to('cuda')
        images = images.cuda() if kind == 'device' or not training else [images.cuda()] * 2
        gpu.waits.clear()
        found = preprocessor(dict(inputs=images, data_samples=samples, masks=masks), training)
        assert not gpu.waits
    assert found['data_samples'] is samples and not any(isinstance(one.gt_label, GpuTensor) for one in samples)
    assert kind == 'device' and not training or found['masks'] is masks


def test_boxes_are_updated_and_batches_taken_from_memory_without_waiting():
    scenes = ShapeScenes(num_images=4, image_size=32, pipeline=[])
    with pretend_gpu() as gpu:
        memory, maps = InMemoryDataset(scenes), ViewHeatmaps(4, 8, 'cuda')
        memory.full_init()
        heatmaps, boxes = torch.rand(4, 8, 8).cuda(), torch.tensor([[0.1, 0.2, 0.7, 0.9]] * 4).cuda()
        flips, indices = torch.zeros(4, dtype=torch.bool).cuda(), torch.arange(4)
        gpu.waits.clear()
        assert memory.__getitems__([2, 0])['inputs'].is_cuda
        maps.add(indices, heatmaps, boxes, flips)
        assert localise(heatmaps, (32, 32), 0.5).whole.is_cuda
        assert not gpu.waits


def test_the_pretended_gpu_tells_who_mixes_and_who_waits():
    with pretend_gpu() as gpu:
        there, here = torch.rand(3, 3, device='cuda'), torch.rand(3, 3)
        assert there.device.type == 'cuda' and (there @ there)[0].is_cuda and not there.cpu().is_cuda
        with pytest.raises(RuntimeError, match='to be on cuda:0'):
            there + here
        with pytest.raises(RuntimeError, match='to be on cuda:0'):
            torch.stack([there.sum(), here.sum()])
        with pytest.raises(TypeError, match='cpu'):
            there.numpy()
        with pytest.raises(RuntimeError, match='memory'):
            here[:1].expand(3, 3).pin_memory()
        gpu.waits.clear()
        result = (there * 2.0 + torch.tensor(1.0)).sum(dim=0)
        assert here.pin_memory().to('cuda', non_blocking=True).is_cuda and not gpu.waits
        waiting = [
            lambda: result.sum().item(),
            lambda: bool((result > 0).all()),
            lambda: here.to('cuda'),
            lambda: here.to('cuda', non_blocking=True),
            lambda: torch.equal(there, there),
            lambda: torch.tensor([1.0], device='cuda'),
            lambda: there[:, [2, 1, 0]],
            lambda: there[there > 0.5],
            lambda: result.tolist(),
        ]
        for number, act in enumerate(waiting, 1):
            act()
            assert len(gpu.waits) == number and 'test_gpu.py' in gpu.waits[-1]


def test_gradients_stay_on_the_pretended_gpu_and_are_those_of_a_cpu():
    network = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4), torch.nn.Flatten())
    images = torch.rand(2, 3, 5, 5)
    network(images).square().mean().backward()
    expected = [parameter.grad for parameter in network.parameters()]
    network.zero_grad()
    with pretend_gpu():
        network.to('cuda')
        network(images.to('cuda')).square().mean().backward()
        found = [parameter.grad for parameter in network.parameters()]
        assert all(gradient.is_cuda for gradient in found)
        assert all(torch.equal(*pair) for pair in zip([one.cpu() for one in found], expected, strict=True))
