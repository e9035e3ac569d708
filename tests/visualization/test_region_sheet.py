"""Windows of one colour are one region of the image, in whatever view they are drawn."""

from itertools import product

import numpy as np
import pytest
import torch

from viewplug.heads.region_windows import WindowGrid
from viewplug.views import ViewGeometry
from viewplug.visualization.region_sheet import (
    FRAME,
    MIN_SIZE,
    VIEW_COLOURS,
    WINDOW_COLOURS,
    draw_regions,
    windows_apart,
)
from viewplug.visualization.sheet import GAP, TITLE_HEIGHT

SIDE = 200
GRID = WindowGrid(window=40, stride=30, downsample=10, input_size=SIDE)
FINE = WindowGrid(window=20, stride=20, downsample=5, input_size=SIDE)


def draw(boxes, flips, grids=(GRID,), side=SIDE, **changes):
    """A sheet of grey images, twice as wide as high, that leave all colours to what is drawn on them."""
    number = len(boxes)
    views = [torch.full((number, 3, side, side), 0.5)] * 2
    geometry = ViewGeometry(torch.tensor(boxes).float(), torch.tensor(flips))
    return draw_regions([torch.full((3, 50, 100), 0.5)] * number, views, geometry, grids, **changes)


def cells(sheet, row, levels=1, side=SIDE):
    """Image and views of a row, without frames, as arrays."""
    framed = side + 2 * FRAME
    whole = round(1.5 * framed), round(0.75 * framed)
    top = TITLE_HEIGHT + GAP + row * (TITLE_HEIGHT + framed + GAP) + TITLE_HEIGHT
    pixels = np.asarray(sheet)
    lefts = [2 * GAP + whole[0] + FRAME + k * (framed + GAP) for k in range(2 * levels)]
    image = pixels[top : top + whole[1], GAP : GAP + whole[0]]
    return image, *(pixels[top + FRAME : top + FRAME + side, left : left + side] for left in lefts)


def extent(cell, colour):
    """x0, y0, x1, y1 of a colour as fractions of the cell, or None where it is not there."""
    rows, columns = np.nonzero((cell == np.array(colour)).all(axis=-1))
    if not len(rows):
        return None
    height, width = cell.shape[:2]
    return np.array(
        [columns.min() / width, rows.min() / height, (columns.max() + 1) / width, (rows.max() + 1) / height]
    )


def in_image(region, box, flip):
    """Fractions of a view as fractions of the image, one corner at a time."""
    x0, y0, x1, y1 = region
    if flip:
        x0, x1 = 1 - x1, 1 - x0
    left, top, right, bottom = box
    width, height = right - left, bottom - top
    return np.array([left + x0 * width, top + y0 * height, left + x1 * width, top + y1 * height])


@pytest.mark.parametrize('flips', list(product([False, True], repeat=2)))
def test_windows_of_one_colour_are_one_region_of_the_image_on_every_level(flips):
    boxes = [
        [[0.1, 0.0, 0.8, 0.9], [0.2, 0.1, 1.0, 0.8]],
        [[0.3, 0.3, 0.7, 0.6], [0.0, 0.0, 1.0, 1.0]],
        [[0.0, 0.1, 0.9, 1.0], [0.3, 0.2, 0.9, 0.6]],
    ]
    sheet = draw(boxes, [flips] * 3, (GRID, FINE))
    compared = 0
    for row, pair in enumerate(boxes):
        _, *views = cells(sheet, row, levels=2)
        for level in (0, 1):
            for colour in WINDOW_COLOURS:
                found = [extent(view, colour) for view in views[2 * level : 2 * level + 2]]
                assert (found[0] is None) == (found[1] is None)
                if found[0] is None:
                    continue
                a, b = (in_image(*three) for three in zip(found, pair, flips, strict=True))
                np.testing.assert_allclose(a, b, atol=1.01 / SIDE)  # lines stand on whole pixels
                window = (GRID, FINE)[level].window / SIDE
                np.testing.assert_allclose(found[0][2:] - found[0][:2], window, atol=0.01 / SIDE)
                compared += 1
    assert compared > 30


def test_disjoint_views_have_no_windows_and_whole_ones_have_as_many_as_asked_for():
    sheet = draw([[[0, 0, 0.4, 0.4], [0.5, 0.5, 1, 1]], [[0, 0, 1, 1]] * 2], [[False] * 2] * 2, num_windows=5)
    for row, expected in ((0, 0), (1, 5)):
        for view in cells(sheet, row)[1:]:
            assert sum(extent(view, colour) is not None for colour in WINDOW_COLOURS) == expected


def test_the_image_shows_where_both_views_were_cut():
    boxes = [[[0.1, 0.2, 0.5, 0.7], [0.4, 0.05, 0.95, 0.9]]]
    image, *_ = cells(draw(boxes, [[True, False]]), 0)
    for colour, box in zip(VIEW_COLOURS, boxes[0], strict=False):
        np.testing.assert_allclose(extent(image, colour), box, atol=0.01)


def test_small_views_are_enlarged_by_whole_numbers_with_their_windows():
    grid = WindowGrid(window=16, stride=16, downsample=4, input_size=32)
    sheet = draw([[[0, 0, 1, 1]] * 2], [[False, True]], [grid], side=32)
    _, plain, mirrored = cells(sheet, 0, side=MIN_SIZE)
    assert extent(plain, WINDOW_COLOURS[0]).tolist() == [0, 0, 0.5, 0.5]
    assert extent(mirrored, WINDOW_COLOURS[0]).tolist() == [0.5, 0, 1, 0.5]


@pytest.mark.parametrize('most', [1, 4, 12])
def test_windows_drawn_count_do_not_overlap_and_are_as_many_as_there_is_room_for(most):
    generator = torch.Generator().manual_seed(0)
    for grid in (GRID, FINE, WindowGrid(48, 16, 16, 224)):
        step = -(-grid.window // grid.stride)
        for _ in range(30):
            x0, y0, x1, y1 = torch.randint(0, grid.count + 1, (4,), generator=generator).tolist()
            valid = torch.zeros(grid.count, grid.count, dtype=torch.bool)
            valid[y0:y1, x0:x1] = True
            found = windows_apart(valid, grid, most)
            assert len(set(found)) == len(found) and all(valid[place] for place in found)
            for (y, x), (v, u) in product(found, found):
                if (y, x) != (v, u):
                    assert max(abs(y - v), abs(x - u)) * grid.stride >= grid.window
            room = -(-max(0, y1 - y0) // step) * -(-max(0, x1 - x0) // step)
            assert len(found) == min(most, room)


def test_views_of_another_size_and_more_windows_than_colours_are_named():
    box, flips = [[[0, 0, 1, 1]] * 2], [[False] * 2]
    with pytest.raises(ValueError, match=r'input_size=200 .* got \(height, width\) \[\(96, 96\), \(96, 96\)\]'):
        draw(box, flips, side=96)
    for number in (0, 13):
        with pytest.raises(ValueError, match=f'num_windows must lie in 1 to 12, got {number}'):
            draw(box, flips, num_windows=number)
