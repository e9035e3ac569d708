"""A whole view in batch: against the per-sample pipeline, and what a caller may rely on."""

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.dataset import Compose
from mmengine.registry import DefaultScope
from natural import as_batch, differences, natural_images
from PIL import Image
from scipy import stats

from viewplug.batch_views import view as view_module
from viewplug.batch_views.view import View

CROP = dict(type='viewplug.RandomResizedCrop', scale=24, crop_ratio_range=(0.2, 1.0), backend='pillow')
JITTER = dict(type='ColorJitter', brightness=0.4, contrast=0.4, saturation=0.4, hue=0.1)
MOCO_V2 = [
    CROP,
    dict(type='RandomApply', transforms=[JITTER], prob=0.8),
    dict(type='RandomGrayscale', prob=0.2, keep_channels=True, channel_weights=(0.114, 0.587, 0.2989)),
    dict(type='GaussianBlur', magnitude_range=(0.1, 2.0), magnitude_std='inf', prob=0.5),
    dict(type='mmpretrain.Solarize', thr=128, prob=0.2),
    dict(type='RandomFlip', prob=0.5),
]


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def pillow_crop(image: np.ndarray, corners: np.ndarray) -> np.ndarray:
    corners = np.rint(corners).astype(int).tolist()
    return np.asarray(Image.fromarray(image).crop(corners).resize((24, 24), Image.BILINEAR))


def test_the_image_is_what_pillow_cuts_at_the_reported_box_and_flip():
    images = natural_images(16)
    found, boxes, flips = View([CROP, dict(type='RandomFlip', prob=0.5)])(as_batch(images), None, seeded())
    assert found.shape == (16, 3, 24, 24) and boxes.shape == (16, 4) and flips.dtype == torch.bool
    assert 0 < flips.sum() < 16
    expected = []
    for image, box, flip in zip(images, boxes.numpy(), flips, strict=True):
        corners = box * [56, 40, 56, 40]
        assert np.abs(corners - np.rint(corners)).max() < 1e-4
        view = pillow_crop(image, corners)
        expected.append(view[:, ::-1] if flip else view)
    assert max(differences(found, expected)) < 0.5


def test_padding_is_never_seen_and_boxes_are_fractions_of_the_true_image():
    images = [natural_images(1, height, width, seed=height)[0] for height, width in [(40, 56), (30, 31), (25, 60)] * 6]
    sizes = torch.tensor([image.shape[:2] for image in images])
    batch = as_batch(images)
    view = View([{**CROP, 'crop_ratio_range': (0.8, 1.0)}])
    found, boxes, _ = view(batch, sizes, seeded())
    expected = []
    for image, box in zip(images, boxes.numpy(), strict=True):
        expected.append(pillow_crop(image, box * np.tile(image.shape[1::-1], 2)))
    assert max(differences(found, expected)) < 0.5
    for image, row in zip(images, batch, strict=True):
        row[:, image.shape[0] :] = 0
        row[:, :, image.shape[1] :] = 0
    assert torch.equal(view(batch, sizes, seeded())[0], found)


@pytest.mark.parametrize('scale', [20, (30, 20)])
def test_resize_takes_the_whole_image_and_width_before_height(scale):
    found, boxes, flips = View([dict(type='mmcv.Resize', scale=scale, backend='pillow')])(as_batch(natural_images(2)))
    assert found.shape == (2, 3, 20, 20 if scale == 20 else 30)
    assert boxes.tolist() == [[0, 0, 1, 1]] * 2 and not flips.any()


def test_crop_takes_height_before_width():
    view = View([dict(type='RandomResizedCrop', scale=(20, 30))])
    assert view(as_batch(natural_images(2)), None, seeded())[0].shape == (2, 3, 20, 30)


def test_the_whole_pipeline_has_the_statistics_of_the_per_sample_one():
    image = natural_images(1)[0]
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        stock = Compose(MOCO_V2)
    number = 1500
    ours = View(MOCO_V2)(as_batch([image] * number), None, seeded())[0].permute(0, 2, 3, 1).numpy()
    stock = np.stack([stock(dict(img=image))['img'] for _ in range(number)]).astype(np.float32)
    gray = [np.isclose(views, views[..., :1], atol=1e-2).all(axis=(1, 2, 3)).mean() for views in (ours, stock)]
    assert gray[0] == pytest.approx(gray[1], abs=0.05) and 0.15 < gray[0] < 0.25
    statistics = dict(
        brightness=lambda views: views.mean(axis=(1, 2, 3)),
        contrast=lambda views: views.std(axis=(1, 2, 3)),
        colour=lambda views: np.ptp(views, axis=3).mean(axis=(1, 2)),
        blue=lambda views: (views[..., 0] - views[..., 2]).mean(axis=(1, 2)),
        sharpness=lambda views: np.abs(np.diff(views, axis=2)).mean(axis=(1, 2, 3)),
        symmetry=lambda views: (views[:, :, :12] - views[:, :, 12:]).mean(axis=(1, 2, 3)),
    )
    for name, statistic in statistics.items():
        found, expected = (statistic(views) for views in (ours, stock))
        assert stats.ks_2samp(found, expected).pvalue > 1e-3, name


def test_every_sample_has_parameters_of_its_own():
    found, boxes, flips = View(MOCO_V2)(as_batch(natural_images(1) * 40), None, seeded())
    assert len(found.flatten(1).unique(dim=0)) == 40 and len(boxes.unique(dim=0)) == 40 and len(flips.unique()) == 2


def test_the_same_seed_gives_the_same_bits_and_global_random_numbers_are_left_alone():
    batch, view, state = as_batch(natural_images(20)), View(MOCO_V2), torch.get_rng_state()
    first, again, other = (view(batch, None, seeded(seed)) for seed in (5, 5, 6))
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert not any(torch.equal(a, b) for a, b in zip(first, other, strict=True))
    assert torch.equal(torch.get_rng_state(), state)


def test_a_second_view_of_the_same_generator_differs():
    batch, view, generator = as_batch(natural_images(20)), View(MOCO_V2), seeded()
    assert not torch.equal(view(batch, None, generator)[1], view(batch, None, generator)[1])


@pytest.mark.parametrize('sizes', [None, [(40, 56)] * 10 + [(30, 31)] * 10])
def test_many_views_at_once_are_those_made_one_after_the_other(sizes):
    batch, view, generator = as_batch(natural_images(20)), View(MOCO_V2), seeded()
    sizes = None if sizes is None else torch.tensor(sizes)
    apart = [view(batch, sizes, generator) for _ in range(3)]
    images, boxes, flips = view.many(3, batch, sizes, seeded(), finish=lambda images: images.mul_(2))
    for number, (image, box, flip) in enumerate(apart):
        assert torch.allclose(images[number], 2 * image, atol=1e-3)
        assert torch.equal(boxes[number], box) and torch.equal(flips[number], flip)


def test_the_batch_is_left_as_it_was_and_floats_are_welcome():
    batch = as_batch(natural_images(20))
    before = batch.clone()
    found = View(MOCO_V2)(batch, None, seeded())[0]
    assert torch.equal(batch, before)
    floats = batch.float()
    assert torch.allclose(View(MOCO_V2)(floats, None, seeded())[0], found, atol=1e-3)
    assert torch.equal(floats, before.float())
    strided = batch.contiguous(memory_format=torch.channels_last)
    assert torch.allclose(View(MOCO_V2)(strided, None, seeded())[0], found, atol=1e-3)


def test_the_result_is_in_range_contiguous_and_without_gradient():
    found, boxes, _ = View(MOCO_V2)(as_batch(natural_images(40)).float().requires_grad_(), None, seeded())
    assert found.is_contiguous() and found.dtype == boxes.dtype == torch.float32 and not found.requires_grad
    assert found.min() > -1e-2 and found.max() < 255.01


@pytest.mark.parametrize('elements', [1, 24 * 24 * 3 * 7, 10**9])
def test_how_many_samples_are_worked_on_at_a_time_changes_nothing(elements, monkeypatch):
    batch, view = as_batch(natural_images(20)), View(MOCO_V2)
    expected = view(batch, None, seeded())
    monkeypatch.setattr(view_module, '_BLOCK_ELEMENTS', elements)
    found = view(batch, None, seeded())
    assert torch.allclose(found[0], expected[0], atol=1e-2) and torch.equal(found[1], expected[1])


def test_inside_autocast_the_view_is_the_same():
    batch, view = as_batch(natural_images(20)), View(MOCO_V2)
    with torch.autocast('cpu', dtype=torch.bfloat16):
        found = view(batch, None, seeded())[0]
    assert torch.equal(found, view(batch, None, seeded())[0])


@pytest.mark.skipif(not torch.cuda.is_available(), reason='needs a GPU')
def test_a_gpu_makes_the_same_views():
    batch, view = as_batch(natural_images(40)), View(MOCO_V2)
    expected = view(batch, None, seeded())
    found = view(batch.cuda(), None, seeded())
    assert all(values.is_cuda for values in found)
    assert (found[0].cpu() - expected[0]).abs().mean() < 0.1
    assert torch.equal(found[1].cpu(), expected[1]) and torch.equal(found[2].cpu(), expected[2])


def test_the_probabilities_are_those_of_the_config():
    batch = as_batch(natural_images(1) * 2000)
    whole = dict(type='Resize', scale=8, backend='pillow')
    plain = View([whole])(batch)[0]
    for prob, step in (
        (0.8, dict(type='RandomApply', transforms=[JITTER], prob=0.8)),
        (0.2, dict(type='RandomGrayscale', prob=0.2, keep_channels=True)),
        (0.5, dict(type='GaussianBlur', radius=1.0)),
        (0.3, dict(type='RandomApply', transforms=[dict(type='GaussianBlur', radius=1.0, prob=0.6)], prob=0.5)),
        (0.7, dict(type='RandomFlip', prob=0.7)),
        (0.0, dict(type='Solarize', thr=100, prob=0.0)),
        (1.0, dict(type='Solarize', thr=100, prob=1.0)),
    ):
        changed = (View([whole, step])(batch, None, seeded())[0] - plain).abs().flatten(1).amax(dim=1) > 1e-2
        assert changed.double().mean() == pytest.approx(prob, abs=4 * (prob * (1 - prob) / 2000) ** 0.5), step


def test_an_empty_batch_gives_empty_views():
    found, boxes, flips = View(MOCO_V2)(torch.zeros(0, 3, 40, 40, dtype=torch.uint8), None, seeded())
    assert found.shape == (0, 3, 24, 24) and boxes.shape == (0, 4) and flips.shape == (0,)


@pytest.mark.parametrize('name', ['views_mocov1', 'views_mocov2', 'cifar10_mocov2', 'fashion_mnist_mocov2'])
def test_the_pipelines_of_the_configs_run_as_they_are(name):
    pipeline = Config.fromfile(f'configs/_base_/{name}.py').view_pipeline
    assert View(pipeline)(as_batch(natural_images(3)), None, seeded())[0].isfinite().all()


@pytest.mark.parametrize(
    'pipeline, sentence',
    [
        ([CROP, dict(type='mmpretrain.Posterize', bits=4)], 'Posterize is not among .*ColorJitter.*GaussianBlur'),
        ([JITTER], 'starts with one of RandomResizedCrop, ContrastiveCrop, Resize, got ColorJitter'),
        ([], 'starts with one of RandomResizedCrop, ContrastiveCrop, Resize, got None'),
        ([CROP, CROP], 'RandomResizedCrop is not among'),
        ([{**CROP, 'pading': 4}], 'RandomResizedCrop: pading not supported.*crop_ratio_range'),
        ([{**CROP, 'interpolation': 'nearest'}], "interpolation of .* must be one of bilinear, bicubic, got 'nearest'"),
        ([{**CROP, 'backend': 'turbo'}], "backend of views .* must be one of pillow, cv2, got 'turbo'"),
        ([{**CROP, 'scale': (1, 2, 3)}], r'scale must be .*\(1, 2, 3\)'),
        ([{**CROP, 'scale': 0}], 'scale must be .*0'),
        ([{**CROP, 'crop_ratio_range': (1.0, 0.2)}], r'crop_ratio_range must be \(min, max\).*\(1.0, 0.2\)'),
        ([dict(type='RandomResizedCrop')], "missing .*'scale'.*it takes scale"),
        ([CROP, dict(type='GaussianBlur', sigma=2)], 'GaussianBlur: sigma not supported.*radius.*magnitude_range'),
        ([CROP, dict(type='RandomFlip', prob=0.5, direction='vertical')], "only direction='horizontal'.*'vertical'"),
        ([CROP, dict(type='RandomFlip', prob=1.5)], r'prob must lie in \[0, 1\], got 1.5'),
        ([CROP, *[dict(type='RandomFlip', prob=0.5)] * 2], 'one RandomFlip at most, got 2'),
        (
            [CROP, dict(type='RandomApply', transforms=[dict(type='RandomFlip', prob=1.0)])],
            'set the prob of RandomFlip',
        ),
        ([CROP, dict(type='RandomApply', transforms=[dict(type='Foo')])], 'Foo is not among'),
        ([CROP, 'ColorJitter'], "is a dict with a type, got 'ColorJitter'"),
    ],
)
def test_what_is_not_supported_is_named(pipeline, sentence):
    with pytest.raises(ValueError, match=sentence):
        View(pipeline)


@pytest.mark.parametrize(
    'batch, sizes, sentence',
    [
        (torch.zeros(2, 1, 9, 9), None, r'images \(N, 3, H, W\), got shape \(2, 1, 9, 9\)'),
        (torch.zeros(2, 3, 9, 9, dtype=torch.int64), None, 'uint8 or float images, got torch.int64'),
        (torch.zeros(2, 3, 9, 9), torch.tensor([[9, 9]]), r'height and width within \(9, 9\) for each of the 2'),
        (torch.zeros(1, 3, 9, 9), torch.tensor([[9, 10]]), r'got \[\[9, 10\]\]'),
        (torch.zeros(1, 3, 9, 9), torch.tensor([[0, 9]]), r'got \[\[0, 9\]\]'),
    ],
)
def test_what_is_no_batch_of_images_is_named(batch, sizes, sentence):
    with pytest.raises(ValueError, match=sentence):
        View([CROP])(batch, sizes)
