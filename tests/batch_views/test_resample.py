"""Cropping, resizing and mirroring in one go against Pillow and OpenCV, image by image."""

import mmcv
import numpy as np
import pytest
import torch
from natural import as_batch, as_float, differences, natural_images
from PIL import Image

from viewplug.batch_views.resample import CropResize
from viewplug.batch_views.taps import resampling_matrices, resampling_taps

PIL_FILTERS = dict(bilinear=Image.BILINEAR, bicubic=Image.BICUBIC)
SIZES = [(32, 32), (12, 20), (8, 5), (90, 100)]  # from 40 x 56 and less: down, strongly down, up and large
IMAGES = natural_images(12)
FLIPS = torch.arange(12) % 2 == 1
BOXES = torch.tensor(
    [[0, 0, 56, 40], [0, 0, 56, 40], [3, 5, 20, 39], [40, 30, 56, 40], [7, 2, 8, 3], [10, 0, 50, 1]]
    + [[0, 10, 33, 40], [23, 0, 56, 27], [11, 13, 17, 37], [1, 1, 55, 39], [30, 20, 44, 34], [0, 0, 2, 40]]
)


def expected(resize) -> list[np.ndarray]:
    crops = [image[y0:y1, x0:x1] for image, (x0, y0, x1, y1) in zip(IMAGES, BOXES.tolist(), strict=True)]
    views = [resize(np.ascontiguousarray(crop)) for crop in crops]
    return [view[:, ::-1] if flip else view for view, flip in zip(views, FLIPS, strict=True)]


@pytest.mark.parametrize('interpolation', ['bilinear', 'bicubic'])
@pytest.mark.parametrize('size', SIZES)
@pytest.mark.parametrize('make', [as_batch, as_float], ids=['uint8', 'float'])
def test_antialiased_it_is_pillows_resize_of_the_crop(interpolation, size, make):
    views = expected(lambda crop: np.asarray(Image.fromarray(crop).resize(size[::-1], PIL_FILTERS[interpolation])))
    found = CropResize(size, interpolation)(make(IMAGES), BOXES, FLIPS)
    assert found.shape == (12, 3, *size) and found.dtype == torch.float32 and found.is_contiguous()
    assert max(differences(found, views)) < 0.5  # Pillow rounds twice
    assert max(np.abs(one.permute(1, 2, 0).numpy() - other).max() for one, other in zip(found, views, strict=True)) < 3


@pytest.mark.parametrize('interpolation', ['bilinear', 'bicubic'])
@pytest.mark.parametrize('size', SIZES)
def test_without_antialiasing_it_is_opencvs_resize_of_the_crop(interpolation, size):
    views = expected(lambda crop: mmcv.imresize(crop, size[::-1], interpolation=interpolation, backend='cv2'))
    found = CropResize(size, interpolation, antialias=False)(as_batch(IMAGES), BOXES, FLIPS)
    assert max(differences(found, views)) < 0.5
    assert max(np.abs(one.permute(1, 2, 0).numpy() - other).max() for one, other in zip(found, views, strict=True)) < 3


def test_one_by_one_and_by_matrices_are_the_same_up_to_rounding():
    # 100 x 90 is large enough for the first on a CPU, which takes uint8 only.
    one_by_one = CropResize((90, 100))(as_batch(IMAGES), BOXES, FLIPS)
    by_matrices = CropResize((90, 100))(as_float(IMAGES), BOXES, FLIPS)
    assert (one_by_one == one_by_one.round()).all() and not (by_matrices == by_matrices.round()).all()
    assert (one_by_one - by_matrices).abs().max() < 1.01


def weights(spans, in_size, out_size, *settings) -> torch.Tensor:
    flips = torch.zeros(len(spans), dtype=torch.bool)
    return resampling_matrices(*resampling_taps(spans, in_size, out_size, flips, *settings), in_size)


@pytest.mark.parametrize('in_shape, size', [((40, 56), (8, 30)), ((56, 40), (30, 8))])
def test_the_cheaper_order_of_the_two_products_gives_the_same(in_shape, size):
    images = torch.rand(2, 3, *in_shape) * 255
    boxes = torch.tensor([[1, 2, 33, 39], [5, 6, 40, 30]])
    found = CropResize(size)(images, boxes)
    rows = weights(boxes[:, 1::2], in_shape[0], size[0])
    columns = weights(boxes[:, 0::2], in_shape[1], size[1])
    assert torch.allclose(found, torch.einsum('ncyx,nyh,nxw->nchw', images, rows, columns), atol=1e-3)


def test_a_constant_image_stays_constant_and_the_weights_stay_in_the_crop():
    spans = torch.tensor([[0, 50], [3, 4], [10, 43], [48, 50]])
    for antialias in (True, False):
        for interpolation in ('bilinear', 'bicubic'):
            matrices = weights(spans, 50, 13, interpolation, antialias)
            assert torch.allclose(matrices.sum(dim=1), torch.ones(4, 13), atol=1e-5)
            for row, (start, end) in zip(matrices, spans.tolist(), strict=True):
                assert not row[:start].any() and not row[end:].any() and row[start:end].any()


def test_bicubic_stays_within_the_range_of_pixels():
    edge = torch.zeros(1, 3, 16, 16)
    edge[..., 8:] = 255
    found = CropResize((40, 40), 'bicubic')(edge, torch.tensor([[0, 0, 16, 16]]))
    assert found.min() == 0 and found.max() == 255
