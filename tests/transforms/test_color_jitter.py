"""viewplug.ColorJitter against mmpretrain's, pixel by pixel."""

import numpy as np
import pytest
from mmpretrain.datasets.transforms import ColorJitter as StockColorJitter
from PIL import Image
from torchvision.transforms.functional import adjust_brightness, adjust_contrast, adjust_hue, adjust_saturation

from viewplug.registry import TRANSFORMS
from viewplug.transforms import ColorJitter

SETTINGS = [
    dict(brightness=0.4, contrast=0.4, saturation=0.4, hue=0.1),
    dict(brightness=0.8, contrast=(0.2, 1.9), saturation=0.8, hue=0.5),
    dict(brightness=0.4, contrast=0.4),
    dict(hue=(-0.3, -0.1)),
    dict(),
    dict(brightness=0.4, contrast=0.4, saturation=0.4, hue=0.1, backend='cv2'),
]


def noise() -> list[np.ndarray]:
    """Images below and above the size from which hues are turned by tables."""
    state = np.random.RandomState(1)
    return [state.randint(0, 256, (*size, 3), dtype=np.uint8) for size in [(13, 17)] * 40 + [(50, 61)] * 20]


def jittered(transform, image: np.ndarray, seed: int) -> tuple[np.ndarray, float]:
    """The transform's image, and what the random numbers go on with."""
    np.random.seed(seed)
    found = transform(dict(img=image.copy()))['img']
    return found, np.random.rand()


@pytest.mark.parametrize('settings', SETTINGS, ids=str)
def test_pixels_and_random_numbers_are_mmpretrains(settings):
    images = noise()
    changed = 0
    for seed, image in enumerate(images):
        expected = jittered(StockColorJitter(**settings), image, seed)
        found = jittered(ColorJitter(**settings), image, seed)
        np.testing.assert_array_equal(found[0], expected[0])
        assert found[1] == expected[1]
        changed += not np.array_equal(found[0], image)
    assert changed == (len(images) if settings else 0)


@pytest.mark.parametrize('settings', SETTINGS, ids=str)
def test_rgb_images_are_jittered_as_torchvision_does(settings):
    images = noise()
    transform = ColorJitter(**settings, color_format='rgb')
    steps = (adjust_brightness, adjust_contrast, adjust_saturation, adjust_hue)
    for seed, image in enumerate(images):
        before = image.copy()
        found = jittered(transform, image, seed)[0]
        np.random.seed(seed)
        order, *factors = transform._rand_params()
        expected = Image.fromarray(image)
        for step in order:
            if factors[step] is not None:
                expected = steps[step](expected, factors[step])
        np.testing.assert_array_equal(image, before)
        if transform.backend == 'cv2':  # which rounds otherwise: its own steps, of the image that it takes to be BGR
            swapped = jittered(StockColorJitter(**settings), image[..., ::-1].copy(), seed)[0]
            np.testing.assert_array_equal(found, swapped[..., ::-1])
        else:
            np.testing.assert_array_equal(found, np.asarray(expected))
            assert found.flags.c_contiguous and found.flags.writeable


def test_another_color_format_is_refused():
    with pytest.raises(ValueError, match="viewplug.ColorJitter: color_format must be 'bgr' or 'rgb', got 'gbr'"):
        ColorJitter(hue=0.1, color_format='gbr')


def test_what_it_returns_is_contiguous_and_the_image_that_came_in_is_untouched():
    whole = np.random.RandomState(2).randint(0, 256, (12, 20, 3), dtype=np.uint8)
    before, piece = whole.copy(), whole[2:9, 15:3:-1]
    found = ColorJitter(**SETTINGS[0])(dict(img=piece))['img']
    assert found.flags.c_contiguous and found.shape == piece.shape
    np.testing.assert_array_equal(whole, before)


def test_it_is_built_by_its_name():
    assert isinstance(TRANSFORMS.build(dict(type='viewplug.ColorJitter', hue=0.1)), ColorJitter)


def test_without_a_step_any_image_passes_as_through_mmpretrains():
    image = np.zeros((4, 4), np.float32)
    assert ColorJitter()(dict(img=image))['img'] is image and StockColorJitter()(dict(img=image))['img'] is image


@pytest.mark.parametrize('image', [np.zeros((4, 4, 3), np.float32), np.zeros((4, 4), np.uint8)])
def test_images_that_pillow_would_misread_are_refused(image):
    with pytest.raises(ValueError, match=r"backend='pillow' needs an \(H, W, 3\) uint8 image, got"):
        ColorJitter(brightness=0.4)(dict(img=image))
