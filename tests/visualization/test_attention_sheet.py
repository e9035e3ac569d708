"""The sheet's cells hold what their titles say."""

import numpy as np
import pytest
import torch

from viewplug.visualization.attention_sheet import FRAME, INSET, QUERY_COLOURS, draw_attention
from viewplug.visualization.sheet import GAP, TITLE_HEIGHT

SIZE = 160


def cell(sheet, row, column):
    top, left = TITLE_HEIGHT + GAP + row * (SIZE + GAP), GAP + column * (SIZE + GAP)
    return np.asarray(sheet)[top : top + SIZE, left : left + SIZE].astype(int)


def draw(queries=2, **changes):
    """Two images of one colour; the class token looks left, query k at row k of four."""
    images = torch.tensor([0.8, 0.4, 0.0]).view(1, 3, 1, 1).expand(2, 3, 40, 40)
    class_maps, query_maps = torch.zeros(2, 4, 4), torch.zeros(2, queries, 4, 4)
    class_maps[:, :, 0] = 0.3
    for k in range(queries):
        query_maps[:, k, k % 4] = 0.1
    boxes = torch.tensor([[0.1 + 0.05 * k, 0.2, 0.5, 0.6] for k in range(queries)]).expand(2, -1, -1)
    patches = torch.zeros(2, queries, 3, 8, 8)
    patches[:, :, 2] = 1
    return draw_attention(images, patches, boxes, class_maps, query_maps, **changes)


def has_colour(pixels, colour):
    return (pixels == np.array(colour)).all(axis=-1)


def test_the_first_cell_is_the_image_with_its_queries_framed():
    sheet = draw()
    assert sheet.size == (GAP + 4 * (SIZE + GAP), TITLE_HEIGHT + GAP + 2 * (SIZE + GAP))
    first = cell(sheet, 1, 0)
    assert first[150, 150].tolist() == [204, 102, 0]
    for k, left in enumerate((16, 24)):
        rows, columns = np.nonzero(has_colour(first, QUERY_COLOURS[k]))
        assert [rows.min(), rows.max(), columns.min()] == [32, 95, left]


def test_maps_are_bright_and_in_the_colour_of_the_query_where_it_looks():
    sheet = draw()
    of_class = cell(sheet, 0, 1)
    assert of_class[:, :20].mean() > 3 * of_class[:, 100:].mean()
    for k in range(2):
        pixels = cell(sheet, 0, 2 + k)
        bright = pixels[k * 40 + 15, 120]
        assert bright.max() > 3 * pixels[150, 120].max()
        assert np.argmax(bright) == np.argmax(QUERY_COLOURS[k])


def test_the_patch_stands_framed_in_the_corner_of_its_map():
    pixels, side = cell(draw(), 0, 2), round(INSET * SIZE)
    assert has_colour(pixels[:FRAME, :side], QUERY_COLOURS[0]).all()
    assert has_colour(pixels[FRAME : side - FRAME, FRAME : side - FRAME], (0, 0, 255)).all()


def test_rows_can_be_named_and_colours_run_out():
    assert (cell(draw(row_titles=['head 1', 'head 2']), 0, 0) != cell(draw(), 0, 0)).any()
    assert len(set(QUERY_COLOURS)) == 12
    with pytest.raises(ValueError, match='12 queries can be told apart on a sheet, got 13'):
        draw(queries=13)
