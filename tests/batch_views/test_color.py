"""Colour jitter and grayscale of whole batches against mmcv's and mmpretrain's, image by image."""

from collections import Counter

import mmcv
import numpy as np
import pytest
import torch
from mmpretrain.datasets.transforms import ColorJitter as StockColorJitter
from mmpretrain.datasets.transforms import RandomGrayscale as StockRandomGrayscale
from natural import as_float, differences, natural_images
from scipy import stats

from viewplug.batch_views.color import ColorJitter, RandomGrayscale
from viewplug.batch_views.hue import rotate_hue

IMAGES = natural_images(24, 24, 30)
JITTER = ColorJitter(0.4, 0.4, 0.4, 0.1)


def orders(number: int = 24) -> torch.Tensor:
    return torch.stack([torch.randperm(4) for _ in range(number)])


@pytest.mark.parametrize('backend', ['pillow', 'cv2'])
@pytest.mark.parametrize(
    'name, limits, adjust, bound',
    [
        ('brightness', (0.0, 2.0), mmcv.adjust_brightness, 0.6),  # Pillow cuts off what is behind the point
        ('contrast', (0.0, 2.0), mmcv.adjust_contrast, 1.0),
        ('saturation', (0.0, 2.0), mmcv.adjust_color, 0.6),
        ('hue', (-0.5, 0.5), mmcv.adjust_hue, 2.5),  # the shift cut down to a 255th of a turn, in 8 bits
    ],
)
def test_each_step_alone_is_mmcvs(backend, name, limits, adjust, bound):
    factors = torch.linspace(*limits, 24)
    expected = [adjust(image, factor, backend=backend) for image, factor in zip(IMAGES, factors.tolist(), strict=True)]
    found = JITTER.apply(as_float(IMAGES), order=orders(), **{name: factors})
    found = differences(found, expected)
    assert max(found) < bound and np.mean(found) < 1
    assert np.mean([np.abs(np.float32(a) - b).mean() for a, b in zip(IMAGES, expected, strict=True)]) > 10


def test_rgb_images_are_jittered_as_their_bgr_copies():
    drawn = ColorJitter(0.4, 0.4, 0.4, (0.1, 0.3)).draw(24, torch.Generator().manual_seed(1))
    bgr, rgb = as_float(IMAGES), as_float(IMAGES).flip(1)
    expected = ColorJitter().apply(bgr, **drawn)
    found = ColorJitter(color_format='rgb').apply(rgb.clone(), **drawn)
    torch.testing.assert_close(found.flip(1), expected, rtol=0, atol=1e-3)
    assert (ColorJitter().apply(rgb, **drawn).flip(1) - expected).abs().max() > 50


@pytest.mark.parametrize('steps', [15, 7, 3, 11, 13, 14, 10], ids='steps {0:04b}'.format)
def test_steps_in_an_order_of_its_own_for_every_sample_are_mmpretrains(steps):
    names = [name for place, name in enumerate(('brightness', 'contrast', 'saturation', 'hue')) if steps >> place & 1]
    params = JITTER.draw(24, torch.Generator().manual_seed(1))
    params = {key: value for key, value in params.items() if key in [*names, 'order']}
    params['order'] = orders()
    stock = StockColorJitter(**dict.fromkeys(names, 0.1))
    expected = []
    for n, image in enumerate(IMAGES):
        drawn = [
            params[name][n].item() if name in names else None
            for name in ('brightness', 'contrast', 'saturation', 'hue')
        ]
        stock._rand_params = lambda n=n, drawn=drawn: (params['order'][n].tolist(), *drawn)
        expected.append(stock(dict(img=image))['img'])
    found = JITTER.apply(as_float(IMAGES), **params)
    each = differences(found, expected)
    assert np.mean(each) < 2 and max(each) < 2.5  # up to four roundings downwards, and the hue's
    assert found.min() > -1e-3 and found.max() < 255.001
    shuffled = JITTER.apply(as_float(IMAGES), **{**params, 'order': params['order'].flip(1)})
    assert (shuffled - found).abs().mean() > 0.3  # the order matters, so the comparison above has proved it


def test_hue_moves_pure_colours_around_the_hexagon():
    blue, green, red = torch.eye(3).view(3, 1, 3, 1, 1) * 200
    turns = torch.tensor([1 / 3])
    assert torch.allclose(rotate_hue(red, turns), green, atol=1e-3)
    assert torch.allclose(rotate_hue(green, turns), blue, atol=1e-3)
    assert torch.allclose(rotate_hue(blue, -turns), green, atol=1e-3)
    assert torch.allclose(rotate_hue(red, turns / 2), red + green, atol=1e-3)
    gray = torch.full((1, 3, 2, 2), 77.0)
    assert torch.equal(rotate_hue(gray, turns), gray)


def test_hue_is_python_colorsys_to_the_last_digits():
    import colorsys

    pixels = torch.rand(4, 3, 5, 7) * 255
    turns = torch.tensor([-0.5, -0.13, 0.0, 0.4])
    found = rotate_hue(pixels, turns)
    for n in range(4):
        for y in range(5):
            for x in range(7):
                b, g, r = (pixels[n, :, y, x] / 255).tolist()
                h, s, v = colorsys.rgb_to_hsv(r, g, b)
                expected = colorsys.hsv_to_rgb((h + turns[n].item()) % 1, s, v)
                assert np.allclose(found[n, :, y, x].flip(0) / 255, expected, atol=1e-5)


def test_orders_are_uniform_and_factors_uniform_in_their_ranges():
    jitter = ColorJitter(brightness=0.4, contrast=(0.5, 0.7), saturation=1.5, hue=0.1)
    drawn = jitter.draw(4800, torch.Generator().manual_seed(0))
    counts = Counter(map(tuple, drawn['order'].tolist()))
    assert len(counts) == 24 and stats.chisquare(list(counts.values())).pvalue > 1e-3
    limits = dict(brightness=(0.6, 1.4), contrast=(0.5, 0.7), saturation=(0.0, 2.5), hue=(-0.1, 0.1))
    for name, (low, high) in limits.items():
        values = drawn[name]
        assert stats.kstest(values, stats.uniform(low, high - low).cdf).pvalue > 1e-3
    assert abs(np.corrcoef([drawn[name] for name in limits]) - np.eye(4)).max() < 0.06


def test_a_step_of_range_zero_is_left_out():
    assert set(ColorJitter(brightness=0.4, contrast=0.4).draw(3)) == {'order', 'brightness', 'contrast'}


@pytest.mark.parametrize('weights', [(0.114, 0.587, 0.2989), (1.0, 1.0, 1.0)])
def test_grayscale_is_mmcvs(weights):
    settings = dict(prob=1.0, keep_channels=True, channel_weights=weights)
    stock = StockRandomGrayscale(**settings)
    expected = [stock(dict(img=image))['img'] for image in IMAGES]
    found = RandomGrayscale(**settings).apply(as_float(IMAGES))
    assert max(differences(found, expected)) < 0.6  # mmcv cuts off what is behind the point


@pytest.mark.parametrize(
    'settings, sentence',
    [
        (dict(brightness=-0.1), 'brightness must not be negative.*-0.1'),
        (dict(hue=(0.2, -0.2)), 'hue must be a number or .low, high.*0.2, -0.2'),
        (dict(saturation=(0.1, 0.2, 0.3)), 'saturation must be'),
        (dict(hue=0.1, color_format='gbr'), "color_format must be 'bgr' or 'rgb', got 'gbr'"),
    ],
)
def test_impossible_ranges_are_named(settings, sentence):
    with pytest.raises(ValueError, match=sentence):
        ColorJitter(**settings)


def test_grayscale_to_one_channel_is_refused():
    with pytest.raises(ValueError, match='keep_channels=True, got False'):
        RandomGrayscale(prob=0.2)
    with pytest.raises(ValueError, match='channel_weights must be three'):
        RandomGrayscale(keep_channels=True, channel_weights=(1.0, 1.0))
