"""ViewGeometry against plain pixel and scalar code."""

import itertools

import numpy as np
import pytest
import torch

from viewplug.views import ViewGeometry

GRID = 40  # boxes have corners on this grid, so counting its cells measures areas exactly
FLIPS = list(itertools.product((False, True), repeat=2))


def random_boxes(number: int, views: int = 2) -> torch.Tensor:
    """(N, V, 4), corners on the grid."""
    x = np.sort([np.random.choice(GRID + 1, 2, replace=False) for _ in range(number * views)], axis=1)
    y = np.sort([np.random.choice(GRID + 1, 2, replace=False) for _ in range(number * views)], axis=1)
    boxes = np.stack([x[:, 0], y[:, 0], x[:, 1], y[:, 1]], axis=1).reshape(number, views, 4)
    return torch.tensor(boxes / GRID, dtype=torch.float64)


def cells(box: torch.Tensor) -> np.ndarray:
    """Which cells of the grid lie in the box."""
    x0, y0, x1, y1 = np.rint(box.numpy() * GRID).astype(int)
    inside = np.zeros((GRID, GRID), bool)
    inside[y0:y1, x0:x1] = True
    return inside


def point_in_image(u, v, box, flip):
    """Where the point (u, v) of a view lies in the image."""
    x0, y0, x1, y1 = box
    u = 1 - u if flip else u
    return x0 + u * (x1 - x0), y0 + v * (y1 - y0)


def point_in_view(x, y, box, flip):
    x0, y0, x1, y1 = box
    u, v = (x - x0) / (x1 - x0), (y - y0) / (y1 - y0)
    return (1 - u if flip else u), v


def test_overlap_covers_the_pixels_that_both_crops_cover():
    geometry = ViewGeometry(random_boxes(200), torch.zeros(200, 2, dtype=torch.bool))
    disjoint = 0
    for boxes, overlap in zip(geometry.boxes, geometry.overlap(0, 1), strict=True):
        both = cells(boxes[0]) & cells(boxes[1])
        assert (cells(overlap) == both).all()
        if not both.any():
            disjoint += 1
            assert (overlap == 0).all()
    assert 10 < disjoint < 190


def test_iou_is_the_ratio_of_the_pixel_counts():
    geometry = ViewGeometry(random_boxes(200), torch.zeros(200, 2, dtype=torch.bool))
    for boxes, iou in zip(geometry.boxes, geometry.iou(0, 1), strict=True):
        a, b = cells(boxes[0]), cells(boxes[1])
        assert float(iou) == pytest.approx((a & b).sum() / (a | b).sum(), abs=1e-12)


def test_iou_of_a_view_with_itself_is_one_and_of_an_empty_crop_zero_not_nan():
    boxes = torch.tensor([[[0.1, 0.2, 0.7, 0.9], [0.3, 0.3, 0.3, 0.3]]])
    geometry = ViewGeometry(boxes, torch.zeros(1, 2, dtype=torch.bool))
    assert geometry.iou(0, 0).item() == pytest.approx(1)
    assert geometry.iou(1, 1).item() == 0


@pytest.mark.parametrize(('flip_a', 'flip_b'), FLIPS)
def test_a_mapped_region_has_the_corners_that_scalar_code_finds(flip_a, flip_b):
    number, regions = 20, 5
    boxes = random_boxes(number)
    geometry = ViewGeometry(boxes, torch.tensor([[flip_a, flip_b]]).repeat(number, 1))
    low = torch.rand(number, regions, 2, dtype=torch.float64) * 0.5
    given = torch.cat([low, low + 0.1 + 0.4 * torch.rand_like(low)], dim=2)
    found = geometry.map_regions(given, 0, 1)
    for n, k in itertools.product(range(number), range(regions)):
        u0, v0, u1, v1 = given[n, k].tolist()
        corners = [
            point_in_view(*point_in_image(u, v, boxes[n, 0].tolist(), flip_a), boxes[n, 1].tolist(), flip_b)
            for u, v in ((u0, v0), (u1, v1))
        ]
        us, vs = zip(*corners, strict=True)
        assert found[n, k].tolist() == pytest.approx([min(us), min(vs), max(us), max(vs)], abs=1e-9)


@pytest.mark.parametrize(('flip_a', 'flip_b'), FLIPS)
def test_mapping_there_and_back_gives_the_region_again(flip_a, flip_b):
    geometry = ViewGeometry(random_boxes(30), torch.tensor([[flip_a, flip_b]]).repeat(30, 1))
    low = torch.rand(30, 4, 2, dtype=torch.float64)
    given = torch.cat([low, low + 0.2], dim=2)
    there = geometry.map_regions(given, 0, 1)
    assert torch.allclose(geometry.map_regions(there, 1, 0), given, atol=1e-9)
    assert torch.allclose(geometry.map_regions(given, 0, 0), given, atol=1e-9)


def test_a_mapped_region_shows_the_same_pixels():
    image = np.arange(GRID * GRID).reshape(GRID, GRID)
    boxes = torch.tensor([[[0, 0, 0.75, 0.5], [0.25, 0, 1, 0.75]]], dtype=torch.float64)

    def view_of(box, flip):
        x0, y0, x1, y1 = np.rint(np.asarray(box) * GRID).astype(int)
        return image[y0:y1, x0:x1][:, ::-1] if flip else image[y0:y1, x0:x1]

    def pixels(view, region):
        height, width = view.shape
        x0, y0, x1, y1 = np.rint(np.asarray(region) * [width, height, width, height]).astype(int)
        return set(view[y0:y1, x0:x1].ravel())

    for flip_a, flip_b in FLIPS:
        geometry = ViewGeometry(boxes, torch.tensor([[flip_a, flip_b]]))
        region = [0.1, 0.2, 0.4, 0.8] if flip_a else [0.6, 0.2, 0.9, 0.8]
        mapped = geometry.map_regions(torch.tensor([[region]], dtype=torch.float64), 0, 1)[0, 0].tolist()
        shown = pixels(view_of(boxes[0, 0], flip_a), region)
        assert len(shown) == 9 * 12
        assert shown == pixels(view_of(boxes[0, 1], flip_b), mapped)


def test_a_region_that_the_other_view_does_not_see_lies_outside_of_it():
    boxes = torch.tensor([[[0, 0, 0.4, 0.4], [0.6, 0.6, 1, 1]]])
    geometry = ViewGeometry(boxes, torch.tensor([[False, True]]))
    x0, y0, x1, y1 = geometry.map_regions(torch.tensor([[[0.0, 0, 1, 1]]]), 0, 1)[0, 0].tolist()
    assert x0 >= 1 and y1 <= 0
    assert (geometry.overlap(0, 1) == 0).all() and geometry.iou(0, 1).item() == 0
