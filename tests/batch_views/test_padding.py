"""Images of several sizes: padded as one batch, or in groups where that would be mostly padding."""

import numpy as np
import pytest
import torch
from natural import natural_images
from pretend_gpu import pretend_gpu

from viewplug.batch_views import BatchViews, padding

CROP = dict(type='RandomResizedCrop', scale=16, crop_ratio_range=(0.2, 1.0), backend='pillow')
JITTER = dict(type='ColorJitter', brightness=0.4, contrast=0.4, saturation=0.4, hue=0.1)
STEPS = [
    dict(type='RandomApply', transforms=[JITTER], prob=0.8),
    dict(type='RandomGrayscale', prob=0.2, keep_channels=True),
    dict(type='GaussianBlur', magnitude_range=(0.1, 2.0), magnitude_std='inf', prob=0.5),
    dict(type='Solarize', thr=128, prob=0.2),
    dict(type='Rotate', angle=10.0, prob=0.3),
    dict(type='RandomFlip', prob=0.5),
]
BANNERS = [(20, 24), (12, 400), (24, 20), (400, 12), (21, 22), (18, 30)]


def images_of(sizes, seed: int = 0) -> list[torch.Tensor]:
    images = [natural_images(1, *size, seed=seed + number)[0] for number, size in enumerate(sizes)]
    return [torch.from_numpy(image).permute(2, 0, 1) for image in images]


def preprocessor(**crop) -> BatchViews:
    small = [dict(CROP, **{'crop_ratio_range': (0.05, 0.2), **crop, 'scale': 8}), JITTER]
    return BatchViews(
        [[dict(CROP, **crop), *STEPS], small],
        [2, 3],
        shared_flip=0.5,
        queries=dict(num=2, transforms=small),
        masks=dict(grid=4),
        mean=[127.5] * 3,
        std=[127.5] * 3,
    )


@pytest.mark.parametrize('crop', [{}, dict(backend='cv2'), dict(scale=(64, 60)), dict(interpolation='bicubic')])
def test_groups_change_neither_the_draws_nor_the_views(crop, monkeypatch):
    def made():
        torch.manual_seed(3)
        cutter = preprocessor(**crop)
        return [cutter(dict(inputs=images), training=True) for _ in range(2)]  # the second: no draw has gone astray

    images = images_of(BANNERS)
    assert len(padding.padded(images)[0]) == 3
    apart = made()
    monkeypatch.setattr(padding, 'PADDED_AT_MOST', float('inf'))
    assert isinstance(padding.padded(images)[0], torch.Tensor)
    for found, expected in zip(apart, made(), strict=True):
        for key in ('boxes', 'flips'):
            assert torch.equal(getattr(found['geometry'], key), getattr(expected['geometry'], key))
        assert torch.equal(found['query_boxes'], expected['query_boxes'])
        assert torch.equal(found['masks'], expected['masks'])
        views = zip([*found['inputs'], found['queries']], [*expected['inputs'], expected['queries']], strict=True)
        assert all(torch.allclose(one, other, atol=1e-4) for one, other in views)


def test_groups_on_a_gpu_are_cut_without_waiting_for_it():
    images = images_of(BANNERS)
    torch.manual_seed(3)
    expected = preprocessor()(dict(inputs=images), training=True)['inputs']
    with pretend_gpu() as gpu:
        cutter, there = preprocessor().to('cuda'), [image.cuda() for image in images]
        torch.manual_seed(3)
        gpu.waits.clear()
        found = cutter(dict(inputs=there), training=True)['inputs']
        assert not gpu.waits and all(view.is_cuda for view in found)
        found = [view.cpu() for view in found]
    assert all(torch.allclose(one, other, atol=1e-4) for one, other in zip(found, expected, strict=True))


def test_contrastive_crop_finds_the_boxes_of_the_images_in_groups():
    cutter = BatchViews([[dict(type='ContrastiveCrop', scale=4, crop_ratio_range=(0.01, 0.01), alpha=1.0)]], 2)
    corners = torch.tensor([[0.0, 0.0, 0.2, 0.2], [0.8, 0.8, 1.0, 1.0]]).repeat(3, 1)
    cutter.views[0].crop.box_store.write(corners)
    order = [3, 1, 0, 2, 5, 4]
    images = [images_of(BANNERS)[index] for index in order]
    assert len(padding.padded(images)[0]) == 3
    boxes = cutter(dict(inputs=images, sample_idx=torch.tensor(order)), training=True)['geometry'].boxes
    late = (boxes[..., :2] + boxes[..., 2:]).mean(dim=(1, 2)) > 1
    assert late.tolist() == [index % 2 == 1 for index in order]


def test_a_panorama_and_a_tower_do_not_make_a_batch_much_larger_than_its_images():
    images = [torch.zeros(3, *size, dtype=torch.uint8) for size in [(8, 8)] * 12 + [(6, 2000), (2000, 6)]]
    groups, sizes = padding.padded(images)
    held = sum(group.pixels.numel() for group in groups)
    assert held <= padding.PADDED_AT_MOST * sum(image.numel() for image in images) < 14 * 3 * 2000 * 2000 / 50
    assert sizes.tolist() == [list(image.shape[1:]) for image in images]
    found = BatchViews([[CROP]], 2)(dict(inputs=images), training=True)['inputs']
    assert [tuple(view.shape) for view in found] == [(14, 3, 16, 16)] * 2 and all((view == 0).all() for view in found)


@pytest.mark.parametrize('seed', range(5))
def test_groups_hold_every_image_once_and_are_never_padded_too_much(seed):
    sizes = np.exp(np.random.default_rng(seed).normal(3, 1.5, (200, 2))).astype(np.int64) + 1
    groups = padding.groups_of_like_size(sizes)
    assert sorted(np.concatenate(groups).tolist()) == list(range(200)) and 1 < len(groups) < 40
    for members in groups:
        own = sizes[members]
        assert (np.diff(members) > 0).all()
        assert len(members) * own.max(axis=0).prod() <= padding.PADDED_AT_MOST * own.prod(axis=1).sum()


def test_photographs_upright_and_lying_are_one_batch():
    sizes = np.array([(375, 500), (500, 333), (500, 500), (240, 320), (480, 640)] * 8)
    assert [members.tolist() for members in padding.groups_of_like_size(sizes)] == [list(range(40))]


def test_images_of_one_number_of_channels_are_asked_for():
    images = [torch.zeros(channels, 8, 8 + channels, dtype=torch.uint8) for channels in (3, 1)]
    with pytest.raises(ValueError, match="got 1 and 3; set color_type='color' in the LoadImageFromFile"):
        padding.padded(images)
