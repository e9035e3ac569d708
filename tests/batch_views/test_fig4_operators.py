"""The operators of SimCLR's Fig. 4 that MoCo v2 does without: rotation, cutout, noise, Sobel."""

import cv2
import mmcv
import numpy as np
import pytest
import torch
from mmpretrain.datasets.transforms import Cutout as StockCutout
from mmpretrain.datasets.transforms import Rotate as StockRotate
from natural import as_batch, as_float, differences, natural_images
from scipy import stats

from viewplug.batch_views.cutout import Cutout
from viewplug.batch_views.noise import GaussianNoise
from viewplug.batch_views.rotate import Rotate
from viewplug.batch_views.sobel import Sobel
from viewplug.batch_views.view import View

IMAGES = natural_images(8)


@pytest.mark.parametrize(
    'settings', [dict(pad_val=(128, 128, 128)), dict(pad_val=(10, 100, 200), scale=0.7)], ids=['plain', 'scaled']
)
def test_rotation_is_mmpretrains(settings):
    angles = torch.tensor([0.0, 90.0, -90.0, 180.0, 30.0, -45.0, 7.5, 270.0])
    for interpolation in ('bilinear', 'nearest'):
        expected = []
        for image, angle in zip(IMAGES, angles.tolist(), strict=True):
            stock = StockRotate(angle, prob=1.0, random_negative_prob=0.0, interpolation=interpolation, **settings)
            expected.append(stock(dict(img=image))['img'])
        found = Rotate(angle=0, interpolation=interpolation, **settings).apply(as_float(IMAGES), angles=angles)
        # OpenCV takes places to the 32nd of a pixel, and the nearest pixel may then be the other one.
        assert np.median(differences(found, expected)) < (1 if interpolation == 'bilinear' else 2)
        assert max(differences(found, expected)) < 3


def test_quarter_turns_of_a_square_are_exact():
    images = torch.rand(1, 3, 9, 9) * 255
    found = Rotate(angle=0).apply(images.clone(), angles=torch.tensor([90.0]))
    assert torch.allclose(found, images.rot90(-1, (2, 3)), atol=1e-3)


def test_angles_take_both_signs():
    angles = Rotate(magnitude_range=(0, 30), magnitude_std='inf').draw(4000, torch.Generator().manual_seed(0))['angles']
    assert stats.kstest(angles, stats.uniform(-30, 60).cdf).pvalue > 1e-3


@pytest.mark.parametrize('shape', [10, (6, 30)])
def test_cutout_is_mmcvs(shape, monkeypatch):
    cutout = Cutout(shape=shape, pad_val=(1, 2, 3))
    params = cutout.draw(8, torch.Generator().manual_seed(0))
    expected = []
    for image, centre in zip(IMAGES, params['centres'].tolist(), strict=True):
        draws = iter(centre)
        monkeypatch.setattr(np.random, 'uniform', lambda high, draws=draws: next(draws) * high)
        expected.append(mmcv.cutout(image, shape, pad_val=(1, 2, 3)))
    assert max(differences(cutout.apply(as_float(IMAGES), **params), expected)) == 0


def test_cutout_is_spread_as_mmpretrain_spreads_it():
    gray = np.full((20, 30, 3), 255, dtype=np.uint8)
    settings = dict(magnitude_range=(2, 16), magnitude_std='inf', pad_val=0, prob=1.0)
    stock = StockCutout(**settings)
    expected = np.stack([stock(dict(img=gray))['img'] for _ in range(2000)])
    cutout = Cutout(**settings)
    params = cutout.draw(2000, torch.Generator().manual_seed(0))
    found = cutout.apply(as_batch([gray]).float().repeat(2000, 1, 1, 1), **params).permute(0, 2, 3, 1).numpy()
    assert np.abs((found == 0).mean(axis=0) - (expected == 0).mean(axis=0)).max() < 0.06
    areas = [(views == 0).all(axis=3).sum(axis=(1, 2)) for views in (found, expected)]
    assert stats.ks_2samp(*areas).pvalue > 1e-3


def test_noise_is_normal_independent_and_each_samples_own():
    images = torch.full((6, 3, 40, 50), 128.0)
    noise = GaussianNoise(std=10.0)
    params = noise.draw(6, torch.Generator().manual_seed(0))
    found = (noise.apply(images.clone(), **params) - 128).numpy()
    assert stats.kstest(found.flatten() / 10, 'norm').pvalue > 1e-3
    assert abs(np.corrcoef(found.reshape(18, -1)) - np.eye(18)).max() < 0.1
    for shift in ((0, 1), (1, 0), (1, 1)):
        neighbours = np.roll(found, shift, axis=(2, 3))
        assert abs(np.corrcoef(found.flatten(), neighbours.flatten())[0, 1]) < 0.02
    alone = noise.apply(images[:1].clone(), **{key: value[3:4] for key, value in params.items()})
    assert np.array_equal(alone[0].numpy() - 128, found[3])


def test_noise_stays_in_range_and_has_the_asked_deviation():
    images = torch.full((3, 3, 64, 64), 128.0)
    params = dict(deviations=torch.tensor([0.0, 5.0, 300.0]), seeds=torch.tensor([1, 2, 3]))
    found = GaussianNoise(std=1.0).apply(images.clone(), **params)
    assert found[0].std() == 0 and found[1].std() == pytest.approx(5, rel=0.03)
    assert found[2].min() == 0 and found[2].max() == 255


def test_sobel_is_opencvs():
    expected = []
    for image in IMAGES:
        across, down = (
            cv2.Sobel(image, cv2.CV_64F, *axes, ksize=3, borderType=cv2.BORDER_REPLICATE) for axes in ((1, 0), (0, 1))
        )
        expected.append(np.minimum(np.hypot(across, down) / 4, 255))
    assert max(differences(Sobel().apply(as_float(IMAGES)), expected)) < 1e-3


def test_they_run_in_a_view_and_a_flip_stays_behind_what_it_would_change():
    crop = dict(type='Resize', scale=40, backend='pillow')
    flip = dict(type='RandomFlip', prob=1.0)
    for step in (
        dict(type='Rotate', angle=30.0, prob=1.0, random_negative_prob=0.0),
        dict(type='Cutout', shape=12, prob=1.0),
        dict(type='viewplug.GaussianNoise', std=10.0),
        dict(type='viewplug.Sobel', prob=0.5),
    ):
        make = lambda *steps: View([crop, *steps])(as_batch(IMAGES), None, torch.Generator().manual_seed(0))[0]  # noqa: E731
        plain, flipped = make(step), make(step, flip)
        assert (plain - make()).abs().mean() > 1
        if step['type'] != 'viewplug.GaussianNoise':
            assert torch.allclose(flipped, plain.flip(-1), atol=1e-2)


def test_three_or_one_values_fill():
    with pytest.raises(ValueError, match=r'Rotate: pad_val must be one number or three, got \(1, 2\)'):
        Rotate(angle=1.0, pad_val=(1, 2))


def test_rotate_knows_two_interpolations():
    with pytest.raises(ValueError, match="Rotate: interpolation must be 'nearest' or 'bilinear', got 'bicubic'"):
        Rotate(angle=10, interpolation='bicubic')
