"""Hue and contrast against Pillow's and torchvision's, bit by bit."""

import numpy as np
import pytest
from PIL import Image
from torchvision.transforms import functional

from viewplug.transforms.pillow_color import SMALLEST, adjust_contrast, adjust_hue, turn_hue


def by_pillow(rgb: np.ndarray, steps: int) -> np.ndarray:
    hsv = np.array(Image.fromarray(rgb).convert('HSV'))
    hsv[..., 0] += np.uint8(steps)
    return np.asarray(Image.fromarray(hsv, 'HSV').convert('RGB'))


def test_every_color_there_is_turns_as_pillow_turns_it():
    green, blue = np.meshgrid(np.arange(256, dtype=np.uint8), np.arange(256, dtype=np.uint8))
    for red in range(256):
        rgb = np.stack([np.full_like(green, red), green, blue], axis=-1)
        steps = red * 37 % 256
        np.testing.assert_array_equal(turn_hue(rgb, steps), by_pillow(rgb, steps), err_msg=f'red {red}, by {steps}')


def test_every_turn_there_is_turns_as_pillow_turns_it():
    rgb = np.random.RandomState(0).randint(0, 256, (64, 100, 3), dtype=np.uint8)
    for steps in range(256):
        np.testing.assert_array_equal(turn_hue(rgb, steps), by_pillow(rgb, steps), err_msg=f'by {steps}')


@pytest.mark.parametrize('size', [(1, 1), (13, 17), (40, 70), (70, 40), (224, 224)], ids=str)
@pytest.mark.parametrize('factor', [-0.5, -0.1, -0.003, 0.0, 0.003, 0.07, 0.5])
def test_images_of_any_size_come_out_as_torchvisions(size, factor):
    image = Image.fromarray(np.random.RandomState(size[0]).randint(0, 256, (*size, 3), dtype=np.uint8))
    np.testing.assert_array_equal(adjust_hue(image, factor), functional.adjust_hue(image, factor))
    found, expected = (one(image, 1 + factor) for one in (adjust_contrast, functional.adjust_contrast))
    np.testing.assert_array_equal(found, expected)


def test_small_images_are_left_to_pillow_and_so_are_mistakes(monkeypatch):
    small, large = (Image.new('RGB', (side, side)) for side in (int(SMALLEST**0.5) - 1, int(SMALLEST**0.5)))
    monkeypatch.setattr(functional, 'adjust_hue', lambda *args: 'torchvision')
    assert adjust_hue(small, 0.1) == 'torchvision' and adjust_hue(large, 0.1) != 'torchvision'
    assert adjust_hue(large, 0.6) == 'torchvision'  # which refuses it
