"""What goes to a GPU and what stays, on a pretended one: views, batches and boxes, without waiting for the device."""

import numpy as np
import pytest
import torch
from gpu_tensor import GpuTensor
from mmpretrain.structures import DataSample
from pretend_gpu import pretend_gpu

from viewplug.batch_views import BatchViews, ViewsDataPreprocessor
from viewplug.batch_views.steps import OPERATORS
from viewplug.datasets import InMemoryDataset, ShapeScenes
from viewplug.hooks.view_heatmaps import ViewHeatmaps
from viewplug.ops.heatmap_boxes import localise
from viewplug.views import ViewGeometry

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
