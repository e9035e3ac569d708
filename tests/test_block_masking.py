"""Masks of blocks against the loop of iBOT's paper, and their statistics."""

import math
import random

import numpy as np
import pytest
import torch

from viewplug.batch_views import BatchViews
from viewplug.block_masking import BlockMasking
from viewplug.transforms import BlockMasks


def one_mask_as_a_loop(height: int, width: int, high: float) -> np.ndarray:
    """BEiT's algorithm 1 with iBOT's numbers, one view at a time, patch by patch."""
    mask = np.zeros((height, width), dtype=bool)
    count = 0
    while count < high:
        added = 0
        for _ in range(10):
            area = random.uniform((min(height, width) // 3) ** 2, high - count)
            aspect = math.exp(random.uniform(math.log(0.3), math.log(1 / 0.3)))
            h, w = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
            if w >= width or h >= height:
                continue
            top, left = random.randint(0, height - h), random.randint(0, width - w)
            new = h * w - mask[top : top + h, left : left + w].sum()
            if 0 < new <= high - count:
                mask[top : top + h, left : left + w] = True
                added = new
                break
        if not added:
            break
        count += added
    return mask


def test_shares_and_shapes_are_those_of_the_loop():
    random.seed(0)
    np.random.seed(0)
    number, grid = 3000, (14, 14)
    loop = np.stack([one_mask_as_a_loop(*grid, random.uniform(0.1, 0.5) * 196) for _ in range(number)])
    ours = BlockMasking(grid, prob=1.0).draw(number)
    for statistic in (share, row_changes, middle):
        a, b = statistic(loop), statistic(ours)
        error = math.sqrt(a.var() / number + b.var() / number)
        assert abs(a.mean() - b.mean()) < 4 * error, statistic.__name__
    quantiles = np.linspace(0.05, 0.95, 10)
    assert np.abs(np.quantile(share(loop), quantiles) - np.quantile(share(ours), quantiles)).max() < 0.02


def share(masks):
    return masks.mean(axis=(1, 2))


def row_changes(masks):
    """How often a row goes from masked to not: blocks have few borders."""
    return (masks[:, :, 1:] != masks[:, :, :-1]).sum(axis=(1, 2)).astype(float)


def middle(masks):
    return masks[:, 5:9, 5:9].mean(axis=(1, 2))


def test_half_of_the_views_are_unmasked_and_the_others_keep_to_their_share():
    masks = BlockMasking(14).draw(4000, np.random.RandomState(0).random_sample)
    masked = masks.any(axis=(1, 2))
    assert abs(masked.mean() - 0.5) < 4 * math.sqrt(0.25 / 4000)
    shares = share(masks[masked])
    assert 0.25 < shares.mean() <= 0.3 and shares.max() <= 0.5 and shares.min() > 0.02
    assert not BlockMasking(14, prob=0.0).draw(50).any()


def test_blocks_are_rectangles_of_an_aspect_ratio_in_range():
    """With room for one block only: the smallest is (14 // 3)^2 = 16 patches."""
    masks = BlockMasking(14, ratio=17 / 196, ratio_spread=0.0, prob=1.0).draw(500)
    rectangles = 0
    for mask in masks:
        rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
        box = mask[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
        if box.all():
            rectangles += 1
            assert 0.2 < box.shape[0] / box.shape[1] < 5
        assert mask.sum() <= 17
    assert rectangles > 200  # the others have the rest filled up


def test_grids_need_not_be_square():
    masks = BlockMasking((4, 9), prob=1.0).draw(300)
    assert masks.shape == (300, 4, 9) and 0.1 < masks.mean() < 0.3


def test_the_transform_gives_one_mask_for_each_global_view():
    np.random.seed(3)
    first = BlockMasks(num_views=2, grid=8, prob=1.0)(dict(img=None))['masks']
    second = BlockMasks(num_views=2, grid=8, prob=1.0)(dict(img=None))['masks']
    np.random.seed(3)
    again = BlockMasks(num_views=2, grid=8, prob=1.0)(dict(img=None))['masks']
    assert first.shape == (2, 8, 8) and first.dtype == bool and not np.array_equal(first[0], first[1])
    assert np.array_equal(first, again) and not np.array_equal(first, second)


def in_batch(seed: int = 0, batches: int = 0, **masks):
    view = [dict(type='RandomResizedCrop', scale=16)]
    preprocessor = BatchViews([view], 2, masks=dict(grid=4, **masks))
    preprocessor.set_extra_state(torch.tensor(batches))
    torch.manual_seed(seed)
    images = torch.randint(0, 256, (64, 3, 20, 20), dtype=torch.uint8)
    return preprocessor(dict(inputs=images), training=True)


def test_in_batch_masks_follow_the_seed_and_the_number_of_the_batch():
    first = in_batch()['masks']
    assert first.shape == (64, 2, 4, 4) and first.dtype == torch.bool
    assert torch.equal(first, in_batch()['masks'])
    assert not torch.equal(first, in_batch(seed=1)['masks']) and not torch.equal(first, in_batch(batches=1)['masks'])
    assert 30 < first.flatten(2).any(dim=2).sum() < 98  # half of 128
    assert in_batch(num_views=1, prob=1.0)['masks'].shape == (64, 1, 4, 4)


@pytest.mark.parametrize(
    'settings, sentence',
    [
        (dict(grid=1), 'grid must be'),
        (dict(grid=14, ratio=0.1), r'ratio - ratio_spread .* got ratio=0.1, ratio_spread=0.2'),
        (dict(grid=14, prob=1.5), 'prob must lie in .* got 1.5'),
        (dict(grid=14, aspect_ratio_range=(2, 1)), 'aspect_ratio_range'),
    ],
)
def test_a_bad_setting_is_a_sentence(settings, sentence):
    with pytest.raises(ValueError, match=sentence):
        BlockMasking(**settings)
