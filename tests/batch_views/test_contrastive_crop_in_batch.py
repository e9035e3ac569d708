"""ContrastiveCrop in batch draws the crops that the per-sample one draws."""

import numpy as np
import pytest
import torch
from scipy.stats import ks_2samp

from viewplug.batch_views import BatchViews
from viewplug.batch_views.contrastive_crop import ContrastiveCrop
from viewplug.batch_views.crop import RandomResizedCrop
from viewplug.crop_sampling import sample_crop

BOX = (0.1, 0.5, 0.45, 0.95)


def drawn(crop, height: int, width: int, n: int, seed: int = 0, sample_idx=None) -> np.ndarray:
    """(n, 4) top, left, height, width."""
    sizes = torch.tensor([[height, width]]).expand(n, 2)
    x0, y0, x1, y1 = crop.boxes(sizes, torch.Generator().manual_seed(seed), sample_idx).numpy().T
    return np.stack([y0, x0, y1 - y0, x1 - x0], axis=1)


def one_by_one(height: int, width: int, n: int, **arguments) -> np.ndarray:
    rng = np.random.default_rng(1)
    return np.array([sample_crop(height, width, rng=rng, **arguments) for _ in range(n)])


def jittered(values: np.ndarray) -> np.ndarray:
    return values + np.random.default_rng(2).uniform(-0.5, 0.5, values.shape)  # no ties


@pytest.mark.parametrize(('height', 'width'), [(48, 48), (60, 100), (31, 20)])
@pytest.mark.parametrize('arguments', [dict(alpha=0.1), dict(alpha=0.6), dict(alpha=1), dict(center='quadratic')])
def test_crops_in_a_box_have_the_per_sample_distribution(height, width, arguments):
    n = 4000
    crop = ContrastiveCrop(16, **arguments)
    crop.box_store.write(np.tile(np.float32(BOX), (n, 1)))
    found = drawn(crop, height, width, n, sample_idx=torch.arange(n))
    expected = one_by_one(height, width, n, box=np.float32(BOX), **arguments)
    for axis in range(4):
        assert ks_2samp(jittered(found[:, axis]), jittered(expected[:, axis])).pvalue > 1e-3
    anywhere = drawn(ContrastiveCrop(16, **arguments), height, width, n)
    assert ks_2samp(jittered(anywhere[:, 1]), jittered(expected[:, 1])).pvalue < 1e-6  # the test can tell


def test_without_boxes_or_uniform_on_the_whole_image_it_is_random_resized_crop_to_the_bit():
    plain = drawn(RandomResizedCrop(16, crop_ratio_range=(0.2, 1.0)), 48, 64, 500)
    for early in (dict(alpha=0.1), dict(alpha=1), dict(center='quadratic')):
        assert np.array_equal(drawn(ContrastiveCrop(16, **early), 48, 64, 500), plain)
    ignoring = ContrastiveCrop(16, alpha=1, localize=False)
    ignoring.box_store.write(np.tile(np.float32(BOX), (500, 1)))
    assert np.array_equal(drawn(ignoring, 48, 64, 500), plain)


def test_suppression_without_localisation_has_the_per_sample_distribution_on_the_whole_image():
    n = 4000
    found = drawn(ContrastiveCrop(16, alpha=0.1, localize=False), 48, 64, n)
    expected, plain = one_by_one(48, 64, n, alpha=0.1), one_by_one(48, 64, n, alpha=1)
    for axis in range(4):
        assert ks_2samp(jittered(found[:, axis]), jittered(expected[:, axis])).pvalue > 1e-3
    assert ks_2samp(jittered(found[:, 0]), jittered(plain[:, 0])).pvalue < 1e-6


def test_each_image_has_its_own_box():
    crop = ContrastiveCrop(16, crop_ratio_range=(0.05, 0.1))
    crop.box_store.write(np.float32([(0, 0, 0.2, 0.2), (0.8, 0.8, 1, 1)]))
    found = drawn(crop, 64, 64, 200, sample_idx=torch.tensor([0, 1] * 100))
    assert found[0::2, :2].max() < 32 <= (found[1::2, :2] + found[1::2, 2:]).min()


def test_no_box_however_broken_cuts_outside_the_image():
    rng = np.random.default_rng(0)
    n = 100_000
    boxes = rng.uniform(-1, 2, (n, 4)).astype(np.float32)
    boxes[:1000] = np.nan
    boxes[1000:2000, 2] = boxes[1000:2000, 0]
    boxes[2000:3000] = np.inf
    crop = ContrastiveCrop(8, alpha=0.3)
    crop.box_store.write(boxes)
    sizes = torch.from_numpy(rng.integers(1, 80, (n, 2)))
    x0, y0, x1, y1 = crop.boxes(sizes, torch.Generator().manual_seed(0), torch.arange(n)).numpy().T
    heights, widths = sizes.numpy().T
    assert (x0 >= 0).all() and (y0 >= 0).all() and (x1 <= widths).all() and (y1 <= heights).all()
    assert (x1 > x0).all() and (y1 > y0).all()


def test_the_data_preprocessor_finds_an_images_box_by_its_index():
    views = BatchViews([[dict(type='viewplug.ContrastiveCrop', scale=8, crop_ratio_range=(0.05, 0.1))]], 2)
    views.views[0].crop.box_store.write(np.float32([(0, 0, 0.2, 0.2), (0.8, 0.8, 1, 1)]))
    images = torch.zeros(6, 3, 64, 64, dtype=torch.uint8)
    out = views(dict(inputs=images, sample_idx=torch.tensor([0, 0, 0, 1, 1, 1])), training=True)
    boxes = out['geometry'].boxes
    assert boxes[:3, :, 0].max() < 0.5 < boxes[3:, :, 2].min()
    with pytest.raises(ValueError, match='does not say which images it holds'):
        views(dict(inputs=images), training=True)
