"""The sheet's cells hold what their titles say."""

import numpy as np
import pytest
import torch

from viewplug.config.channel_order import BGR_TO_RGB
from viewplug.registry import MODELS
from viewplug.transforms.contrastive_crop import ContrastiveCrop
from viewplug.visualization.box_sheet import BOX_COLOUR, CROP_COLOURS, MIN_HEIGHT, draw_boxes, order_as_loaded
from viewplug.visualization.sheet import GAP, TITLE_HEIGHT

SIZE = 100


def cell(sheet, row, column, size=SIZE):
    top, left = TITLE_HEIGHT + GAP + row * (size + GAP), GAP + column * (size + GAP)
    return np.asarray(sheet)[top : top + size, left : left + size].astype(int)


def images(number=2, size=SIZE):
    """Red left half, blue right half."""
    pixels = torch.zeros(number, 3, size, size, dtype=torch.uint8)
    pixels[:, 0, :, : size // 2] = 200
    pixels[:, 2, :, size // 2 :] = 200
    return pixels


def draw(pixels=None, boxes=None, heatmaps=None, **changes):
    pixels = images() if pixels is None else pixels
    boxes = torch.tensor([[0.6, 0.2, 0.9, 0.8]] * len(pixels)) if boxes is None else boxes
    heatmaps = torch.rand(len(pixels), 4, 4) if heatmaps is None else heatmaps
    crop = ContrastiveCrop(32, (0.01, 0.04), alpha=1.0)
    return draw_boxes(pixels, heatmaps, boxes, crop, **changes)


def has_colour(pixels, colour):
    return (pixels == np.array(colour)).all(axis=-1)


def test_the_first_cell_is_the_image_with_its_box_and_the_outlines_of_its_crops():
    sheet = draw()
    assert sheet.size == (GAP + 6 * (SIZE + GAP), TITLE_HEIGHT + GAP + 2 * (SIZE + GAP))
    first = cell(sheet, 1, 0)
    assert first[50, 10].tolist() == [200, 0, 0] and first[5, 95].tolist() == [0, 0, 200]
    rows, columns = np.nonzero(has_colour(first, BOX_COLOUR))
    assert [columns.min(), columns.max(), rows.min(), rows.max()] == [60, 89, 20, 79]
    for colour in CROP_COLOURS:
        rows, columns = np.nonzero(has_colour(first, colour))
        assert len(rows) and columns.min() >= 50 and columns.max() <= 100  # centred in the box, 20 pixels wide


def test_crops_are_taken_inside_the_box_that_is_drawn():
    np.random.seed(0)
    sheet = draw(boxes=torch.tensor([[0.7, 0.2, 0.9, 0.8], [0.1, 0.2, 0.3, 0.8]]))
    for column in range(2, 6):
        assert np.abs(cell(sheet, 0, column) - [0, 0, 200]).max() <= 1
        assert np.abs(cell(sheet, 1, column) - [200, 0, 0]).max() <= 1


def test_the_heat_map_is_red_where_it_is_high_and_blue_where_it_is_low():
    heatmaps = torch.zeros(2, 2, 2)
    heatmaps[0, 1, 0] = 5
    sheet = draw(torch.full((2, 3, SIZE, SIZE), 100, dtype=torch.uint8), heatmaps=heatmaps)
    hot = cell(sheet, 0, 1)
    assert hot[90, 10, 0] > hot[90, 10, 2] + 50 and hot[10, 90, 2] > hot[10, 90, 0] + 50
    assert (cell(sheet, 1, 1)[..., 2] > cell(sheet, 1, 1)[..., 0]).all()  # a dead map is cold everywhere


def test_bgr_images_are_drawn_in_their_colours_and_grey_ones_in_grey():
    assert cell(draw(images().flip(1), channel_order='bgr'), 0, 0)[50, 10].tolist() == [200, 0, 0]
    grey = cell(draw(torch.full((1, 1, SIZE, SIZE), 90, dtype=torch.uint8)), 0, 0)
    assert grey[2, 2].tolist() == [90, 90, 90]


def test_small_images_are_enlarged_by_whole_numbers():
    sheet = draw(images(size=32), num_crops=1)
    assert sheet.size[0] == GAP + 3 * (MIN_HEIGHT + GAP)
    first = cell(sheet, 0, 0, MIN_HEIGHT)
    assert first[2, 46].tolist() == [200, 0, 0] and first[2, 49].tolist() == [0, 0, 200]


def test_without_localize_crops_leave_the_box():
    crop = ContrastiveCrop(32, (0.01, 0.04), localize=False, center=lambda rng: 0.0)
    sheet = draw_boxes(images(1), torch.rand(1, 4, 4), torch.tensor([[0.7, 0.2, 0.9, 0.8]]), crop)
    assert np.abs(cell(sheet, 0, 2) - [200, 0, 0]).max() <= 1


@pytest.mark.parametrize('box', [[0.5, 0.5, 0.5, 0.5], [0, 0, 1, 1]])
def test_boxes_without_area_and_whole_images_are_drawn(box):
    assert has_colour(cell(draw(boxes=torch.tensor([box, box]).float()), 0, 0), BOX_COLOUR).any()


@pytest.mark.parametrize('to_rgb', [True, False])
@pytest.mark.parametrize(('steps', 'order'), [([], 'bgr'), (BGR_TO_RGB, 'rgb')])
def test_the_order_of_loaded_images_is_that_of_the_config_whether_or_not_the_network_sees_it(steps, order, to_rgb):
    pipeline = [dict(type='LoadImageFromFile'), *steps]
    dataset = dict(type='viewplug.ImageFolder', pipeline=pipeline)
    cfg = dict(data_preprocessor=dict(to_rgb=to_rgb), train_dataloader=dict(dataset=dataset))
    preprocessor = MODELS.build(dict(type='viewplug.ViewsDataPreprocessor', to_rgb=to_rgb))
    assert order_as_loaded(preprocessor, cfg) == order
    assert order_as_loaded(preprocessor, cfg, 'bgr') == ('rgb' if to_rgb else 'bgr')  # whatever the config says
    assert order_as_loaded(preprocessor, {}) == ('bgr' if to_rgb else 'rgb')  # mmcv's loader, or none
