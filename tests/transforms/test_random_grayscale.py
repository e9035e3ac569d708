"""viewplug.RandomGrayscale against mmcv's, pixel by pixel."""

import random

import numpy as np
import pytest
from mmcv.transforms import RandomGrayscale as StockRandomGrayscale

from viewplug.registry import TRANSFORMS
from viewplug.transforms import RandomGrayscale

MOCO = dict(prob=1.0, keep_channels=True, channel_weights=(0.114, 0.587, 0.2989))
SETTINGS = [MOCO, dict(prob=1.0, keep_channels=True), dict(MOCO, channel_weights=(3, 5, 7), color_format='rgb')]
IMAGE = np.random.RandomState(3).randint(0, 256, (9, 14, 3), dtype=np.uint8)


@pytest.fixture(scope='module')
def every_colour():
    numbers = np.arange(2**24, dtype=np.uint32).reshape(4096, 4096)
    return np.stack([numbers & 255, (numbers >> 8) & 255, numbers >> 16], axis=2).astype(np.uint8)


@pytest.mark.parametrize('settings', SETTINGS, ids=str)
def test_every_colour_becomes_mmcvs_grey(settings, every_colour):
    found = RandomGrayscale(**settings)(dict(img=every_colour))['img']
    expected = StockRandomGrayscale(**settings)(dict(img=every_colour))['img']
    np.testing.assert_array_equal(found, expected)
    assert found.dtype == expected.dtype and found.flags.c_contiguous


@pytest.mark.parametrize('view', [np.s_[:, :, ::-1], np.s_[::-1, ::-2], np.s_[2:7, 3:]], ids=str)
def test_views_of_an_image_too(view):
    before = IMAGE.copy()
    found = RandomGrayscale(**MOCO)(dict(img=IMAGE[view]))['img']
    np.testing.assert_array_equal(found, StockRandomGrayscale(**MOCO)(dict(img=IMAGE[view]))['img'])
    np.testing.assert_array_equal(IMAGE, before)


def test_random_numbers_are_mmcvs():
    outcomes = []
    for transform in (RandomGrayscale(**MOCO | dict(prob=0.3)), StockRandomGrayscale(**MOCO | dict(prob=0.3))):
        random.seed(4)
        outcomes.append([np.ptp(transform(dict(img=IMAGE))['img'], axis=2).any() for _ in range(200)])
        outcomes.append(random.random())
    assert outcomes[:2] == outcomes[2:]
    assert 100 < sum(outcomes[0]) < 180


@pytest.mark.parametrize(
    ('settings', 'image'),
    [
        (MOCO | dict(keep_channels=False), IMAGE),
        (MOCO | dict(color_format='hsv'), IMAGE),
        (MOCO, IMAGE.astype(np.float32)),
        (MOCO, IMAGE[:, :, 0]),
        (dict(MOCO, channel_weights=(1.0, 2.0)), IMAGE[:, :, :2]),
    ],
    ids=['one channel', 'hsv', 'float', 'grey', 'two channels'],
)
def test_all_else_is_the_stock_transforms(settings, image):
    found = RandomGrayscale(**settings)(dict(img=image))['img']
    np.testing.assert_array_equal(found, StockRandomGrayscale(**settings)(dict(img=image))['img'])


def test_a_wrong_number_of_weights_is_refused_as_by_mmcv():
    with pytest.raises(AssertionError, match='channel_weights'):
        RandomGrayscale(**MOCO | dict(channel_weights=(1.0, 2.0)))(dict(img=IMAGE))


def test_it_is_built_by_its_name():
    assert isinstance(TRANSFORMS.build(dict(type='viewplug.RandomGrayscale')), RandomGrayscale)
