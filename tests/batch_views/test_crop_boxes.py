"""Crop boxes for many images at once against mmpretrain's, drawn one by one."""

import math

import numpy as np
import pytest
import torch
from mmpretrain.datasets.transforms import RandomResizedCrop
from scipy import stats

from viewplug.batch_views.crop_boxes import random_resized_crop_boxes

SHAPES = [(32, 32), (48, 48), (375, 500), (500, 333), (24, 120), (200, 31), (7, 9)]


def stock_boxes(height, width, number, **settings) -> np.ndarray:
    crop = RandomResizedCrop(scale=8, **settings)
    image = np.empty((height, width, 3), dtype=np.uint8)
    tops, lefts, heights, widths = np.array([crop.rand_crop_params(image) for _ in range(number)]).T
    return np.stack([lefts, tops, lefts + widths, tops + heights], axis=1)


@pytest.mark.parametrize('height, width', SHAPES)
@pytest.mark.parametrize('ratio', [(0.2, 1.0), (0.05, 0.4)])
def test_boxes_are_distributed_as_the_stock_crop_draws_them(height, width, ratio):
    number = 3000
    sizes = torch.tensor([[height, width]]).expand(number, 2)
    boxes = random_resized_crop_boxes(sizes, ratio, generator=torch.Generator().manual_seed(3)).numpy()
    stock = stock_boxes(height, width, number, crop_ratio_range=ratio)
    both = [
        np.c_[b, b[:, 2] - b[:, 0], b[:, 3] - b[:, 1], (b[:, 2] - b[:, 0]) / (b[:, 3] - b[:, 1])]
        for b in (boxes, stock)
    ]
    for found, expected in zip(both[0].T, both[1].T, strict=True):
        assert stats.ks_2samp(found, expected).pvalue > 1e-3


def test_sizes_of_a_mixed_batch_are_each_images_own():
    shapes = SHAPES * 500
    boxes = random_resized_crop_boxes(torch.tensor(shapes), (0.2, 1.0), generator=torch.Generator().manual_seed(0))
    x0, y0, x1, y1 = boxes.T
    heights, widths = torch.tensor(shapes).T
    assert boxes.dtype == torch.int64
    assert ((x0 >= 0) & (x0 < x1) & (x1 <= widths) & (y0 >= 0) & (y0 < y1) & (y1 <= heights)).all()
    for place, (height, width) in enumerate(SHAPES):
        stock = stock_boxes(height, width, 500, crop_ratio_range=(0.2, 1.0))
        assert stats.ks_2samp(boxes[place :: len(SHAPES), 2].numpy(), stock[:, 2]).pvalue > 1e-3


def test_the_place_may_touch_every_border():
    boxes = random_resized_crop_boxes(torch.full((2000, 2), 6), (0.3, 0.6), generator=torch.Generator().manual_seed(0))
    assert boxes.amin(dim=0)[:2].tolist() == [0, 0] and boxes.amax(dim=0)[2:].tolist() == [6, 6]


@pytest.mark.parametrize('height, width', [(20, 200), (200, 20), (50, 50), (51, 333), (100, 133)])
@pytest.mark.parametrize('attempts', [0, 10])
def test_where_no_try_fits_the_box_is_the_stock_central_one(height, width, attempts):
    # Above 1.5 times the image's area nothing fits, however often it is tried.
    settings = dict(crop_ratio_range=(1.5, 2.0), aspect_ratio_range=(3 / 4, 4 / 3), max_attempts=attempts)
    found = random_resized_crop_boxes(torch.tensor([[height, width]] * 3), **settings)
    assert found.tolist() == stock_boxes(height, width, 3, **settings).tolist()


@pytest.mark.parametrize(('height', 'width'), [(1, 400), (400, 1), (1, 1), (2, 300)])
def test_the_thinnest_images_give_boxes_inside_them_that_are_not_empty(height, width):
    sizes = torch.tensor([[height, width]]).expand(50, 2)
    x0, y0, x1, y1 = random_resized_crop_boxes(sizes, aspect_ratio_range=(0.1, 0.2)).T
    assert (x0 >= 0).all() and (x0 < x1).all() and (x1 <= width).all()
    assert (y0 >= 0).all() and (y0 < y1).all() and (y1 <= height).all()


def test_the_tries_that_do_not_fit_are_passed_over_for_the_first_that_does():
    # A square image and aspect ratios up to 4: a crop of the whole area fits only if nearly square.
    sizes = torch.full((4000, 2), 100)
    settings = dict(crop_ratio_range=(0.8, 1.0), aspect_ratio_range=(1 / 4, 4.0))
    one, ten = (
        random_resized_crop_boxes(sizes, **settings, max_attempts=attempts, generator=torch.Generator().manual_seed(1))
        for attempts in (1, 10)
    )
    whole = [(boxes == torch.tensor([0, 0, 100, 100])).all(dim=1).double().mean().item() for boxes in (one, ten)]
    fits = 1 - whole[0]
    assert 0.05 < fits < 0.3
    assert whole[1] == pytest.approx(whole[0] ** 10, abs=4 * math.sqrt(0.25 / 4000))


def test_the_same_generator_state_gives_the_same_boxes_and_nothing_else_is_drawn_from():
    sizes = torch.full((50, 2), 64)
    state = torch.get_rng_state()
    first, again, other = (
        random_resized_crop_boxes(sizes, generator=torch.Generator().manual_seed(seed)) for seed in (1, 1, 2)
    )
    assert torch.equal(first, again) and not torch.equal(first, other)
    assert torch.equal(torch.get_rng_state(), state)


def test_a_seed_gives_the_boxes_it_has_always_given():
    # Else a run resumed by a later version would cut other views than the one that it goes on with.
    generator = torch.Generator().manual_seed(7)
    sizes = torch.tensor([[32, 32], [90, 20], [20, 90], [5, 400]])
    first, around, one_try = (
        random_resized_crop_boxes(sizes, generator=generator, **settings).tolist()
        for settings in ({}, dict(around=np.float64([[0.5, 0.5, 0.9, 0.9]] * 4)), dict(max_attempts=1))
    )
    assert first == [[0, 13, 18, 32], [4, 56, 20, 69], [28, 2, 42, 20], [196, 0, 203, 5]]
    assert around == [[10, 15, 24, 32], [0, 31, 20, 58], [48, 0, 70, 20], [196, 0, 203, 5]]
    assert one_try == [[0, 1, 32, 30], [0, 31, 20, 58], [31, 0, 58, 20], [196, 0, 203, 5]]
