"""ContrastiveCrop on PIL images, arrays and tensors."""

import pickle
import subprocess
import sys

import numpy as np
import pytest
import torch
from PIL import Image

from viewplug.crop_sampling import sample_crop
from viewplug.image_crop import ContrastiveImageCrop

BOX = (0.5, 0.1, 0.9, 0.4)


def noise(*shape) -> np.ndarray:
    return np.random.RandomState(0).randint(0, 256, shape, dtype=np.uint8)


def test_the_view_is_the_sampled_crop_resized():
    image = Image.fromarray(noise(60, 90, 3))
    crop = ContrastiveImageCrop((20, 30), alpha=0.3)
    for seed in range(20):
        top, left, height, width = sample_crop(60, 90, BOX, alpha=0.3, rng=np.random.RandomState(seed))
        expected = image.crop((left, top, left + width, top + height)).resize((30, 20), Image.Resampling.BILINEAR)
        np.random.seed(seed)
        assert np.array_equal(crop(image, BOX), expected)


def test_without_a_box_it_is_random_resized_crop():
    image, crop = Image.fromarray(noise(60, 90, 3)), ContrastiveImageCrop(24, alpha=0.1)
    for seed in range(20):
        views = []
        for cut, box in ((crop, None), (ContrastiveImageCrop(24, alpha=1), (0, 0, 1, 1)), (crop, (0, 0, 1, 1))):
            np.random.seed(seed)
            views.append(np.asarray(cut(image, box)))
        assert np.array_equal(views[0], views[1]) and not np.array_equal(views[0], views[2])


def test_images_arrays_and_tensors_give_the_same_view_in_their_own_kind():
    pixels = noise(60, 90, 3)
    crop = ContrastiveImageCrop(24)
    views = []
    for image in (Image.fromarray(pixels), pixels, torch.from_numpy(pixels.transpose(2, 0, 1))):
        np.random.seed(3)
        views.append(crop(image, BOX))
    pil, array, tensor = views
    assert isinstance(pil, Image.Image) and isinstance(array, np.ndarray) and isinstance(tensor, torch.Tensor)
    assert pil.size == (24, 24) and array.shape == (24, 24, 3) and tensor.shape == (3, 24, 24)
    assert array.dtype == np.uint8 and tensor.dtype == torch.uint8
    assert np.array_equal(array, tensor.permute(1, 2, 0))
    assert np.abs(np.asarray(pil, int) - array).max() <= 1  # PIL and torchvision round differently


@pytest.mark.parametrize(
    'image,shape',
    [
        (noise(1, 1), (8, 8)),
        (noise(1, 90, 1), (8, 8, 1)),
        (noise(60, 1, 4), (8, 8, 4)),
        (noise(60, 90, 3).astype(np.float32), (8, 8, 3)),
        (torch.rand(2, 3, 60, 90), (2, 3, 8, 8)),
    ],
)
@pytest.mark.parametrize('box', [None, BOX, (np.nan,) * 4, torch.tensor(BOX), np.float32(BOX)])
def test_every_shape_of_image_and_box_is_cropped(image, shape, box):
    view = ContrastiveImageCrop(8)(image, box)
    assert view.shape == shape and view.dtype == image.dtype


def test_a_crop_of_the_whole_image_in_its_own_size_is_the_image():
    crop = ContrastiveImageCrop((60, 90), crop_ratio_range=(1, 1), aspect_ratio_range=(1.5, 1.5))
    assert np.array_equal(crop(noise(60, 90, 3), BOX), noise(60, 90, 3))


def test_it_travels_to_worker_processes():
    crop = pickle.loads(pickle.dumps(ContrastiveImageCrop(8, alpha=0.1)))
    assert crop(noise(60, 90, 3)).shape == (8, 8, 3)


@pytest.mark.parametrize(
    'settings,message',
    [
        (dict(interpolation='cubic'), "interpolation must be one of nearest, .* got 'cubic'"),
        (dict(alpha=-1), 'alpha must be .* got -1'),
        (dict(crop_ratio_range=(1, 0.2)), r'crop_ratio_range must be .* got \(1, 0.2\)'),
    ],
)
def test_a_wrong_argument_is_named(settings, message):
    with pytest.raises(ValueError, match=message):
        ContrastiveImageCrop(8, **settings)


def test_it_imports_without_openmmlab():
    code = (
        'import sys\n'
        "sys.modules.update({name: None for name in ('mmengine', 'mmcv', 'mmpretrain', 'mmdet')})\n"
        'import numpy, viewplug.box_store, viewplug.image_crop\n'
        'print(viewplug.image_crop.ContrastiveImageCrop(8)(numpy.zeros((9, 9, 3), numpy.uint8)).shape)'
    )
    assert subprocess.run([sys.executable, '-c', code], capture_output=True, text=True).stdout == '(8, 8, 3)\n'


@pytest.mark.parametrize('box', [(50, 60, 200, 220), (0, 0, 200, 220), torch.tensor([0.0, 0.5, 3.0, 1.0])])
def test_a_box_in_pixels_is_refused(box):
    with pytest.raises(ValueError, match='fractions of the image, got .*: divide pixels by its width and height'):
        ContrastiveImageCrop(8)(np.zeros((300, 300, 3), np.uint8), box)
