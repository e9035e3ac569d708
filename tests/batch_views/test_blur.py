"""Blur and solarisation of whole batches against Pillow and mmpretrain, image by image."""

import numpy as np
import pytest
import torch
from mmpretrain.datasets.transforms import GaussianBlur as StockGaussianBlur
from mmpretrain.datasets.transforms import Solarize as StockSolarize
from natural import as_float, differences, natural_images
from scipy import stats
from scipy.ndimage import gaussian_filter1d

from viewplug.batch_views.blur import GaussianBlur, gaussian_blur
from viewplug.batch_views.solarize import Solarize


@pytest.mark.parametrize('height, width', [(32, 32), (40, 56), (150, 230)])
def test_each_sample_is_blurred_with_its_own_radius_as_by_pillow(height, width):
    images = natural_images(8, height, width)
    radii = torch.linspace(0.1, 2.0, 8)
    expected = [
        StockGaussianBlur(radius=radius, prob=1.0)(dict(img=image))['img']
        for image, radius in zip(images, radii.tolist(), strict=True)
    ]
    found = GaussianBlur(radius=1.0).apply(as_float(images), radii=radii)
    assert max(differences(found, expected)) < 2


@pytest.mark.parametrize('height, width', [(32, 32), (40, 150), (300, 20)])
def test_it_is_the_true_gaussian_with_repeated_borders(height, width):
    images = torch.rand(3, 3, height, width) * 255
    sigmas = torch.tensor([0.3, 1.7, 6.0])
    expected = [
        gaussian_filter1d(gaussian_filter1d(one.double(), sigma, 1, mode='nearest'), sigma, 2, mode='nearest')
        for one, sigma in zip(images, sigmas.tolist(), strict=True)
    ]
    found = GaussianBlur(radius=1.0).apply(images.clone(), radii=sigmas)
    assert np.abs(found.numpy() - np.stack(expected)).max() < 0.2


def test_a_sample_does_not_depend_on_its_neighbours_radii():
    images = torch.rand(2, 3, 140, 140) * 255
    together = gaussian_blur(images, torch.tensor([0.5, 8.0]))
    assert torch.allclose(together[:1], gaussian_blur(images[:1], torch.tensor([0.5])), atol=1e-4)


def test_a_radius_of_zero_changes_nothing():
    images = torch.rand(2, 3, 20, 30) * 255
    assert torch.allclose(gaussian_blur(images, torch.zeros(2)), images, atol=1e-4)


def test_radii_are_drawn_as_mmpretrain_draws_them():
    for settings in (
        dict(magnitude_range=(0.1, 2.0), magnitude_std='inf'),
        dict(magnitude_range=(2.0, 0.1), magnitude_std=2.0, magnitude_level=6),
        dict(magnitude_range=(0.0, 3.0), magnitude_std='inf', magnitude_level=4, total_level=8),
    ):
        stock = StockGaussianBlur(**settings)
        found = GaussianBlur(**settings).draw(4000, torch.Generator().manual_seed(0))['radii']
        assert stats.ks_2samp(found, [stock.random_magnitude() for _ in range(4000)]).pvalue > 1e-3
    unmoved = dict(magnitude_range=(1.0, 2.0), magnitude_level=5)
    assert GaussianBlur(**unmoved).draw(3)['radii'].tolist() == [1.5, 1.5, 1.5]
    assert GaussianBlur(radius=1.25).draw(3)['radii'].tolist() == [1.25, 1.25, 1.25]


def test_solarisation_is_mmpretrains():
    images = natural_images(6)
    thresholds = torch.tensor([0.0, 30.0, 100.0, 128.0, 200.0, 256.0])
    expected = [
        StockSolarize(thr=threshold, prob=1.0)(dict(img=image))['img']
        for image, threshold in zip(images, thresholds.tolist(), strict=True)
    ]
    assert max(differences(Solarize(thr=128).apply(as_float(images), thresholds=thresholds), expected)) == 0


@pytest.mark.parametrize('settings', [{}, dict(radius=1.0, magnitude_range=(0.1, 2.0))])
def test_one_of_radius_and_range_must_be_given(settings):
    with pytest.raises(ValueError, match='radius or magnitude_range must be given'):
        GaussianBlur(**settings)


def test_an_unknown_deviation_is_refused():
    with pytest.raises(ValueError, match="magnitude_std must be a number or 'inf', got 'nan'"):
        GaussianBlur(magnitude_range=(0.1, 2.0), magnitude_std='nan')
