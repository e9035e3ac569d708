"""The sheet's cells are the pictures, framed by whether the class is the query's."""

import numpy as np
import torch

from viewplug.views import ViewGeometry
from viewplug.visualization.crop_sheet import VIEW_COLOURS, draw_crops
from viewplug.visualization.neighbour_sheet import FRAME, OTHER, SAME, UNKNOWN, draw_neighbours
from viewplug.visualization.sheet import GAP, TITLE_HEIGHT

CELL = 64 + 2 * FRAME


def centre_and_frame(sheet, row, column):
    pixels = np.asarray(sheet)
    top = TITLE_HEIGHT + GAP + row * (CELL + TITLE_HEIGHT + GAP) + TITLE_HEIGHT
    left = GAP + column * (CELL + GAP)
    return pixels[top + CELL // 2, left + CELL // 2].tolist(), tuple(pixels[top + 1, left + CELL // 2].tolist())


def flat(*values):
    return torch.tensor(values).view(-1, 1, 1, 1).expand(-1, 3, 32, 32)


def test_rows_are_queries_and_columns_their_neighbours_nearest_first():
    near = torch.stack([flat(0.2, 0.4), flat(0.6, 0.8)])
    labels, near_labels = torch.tensor([1, 0]), torch.tensor([[1, 0], [2, 0]])
    sheet = draw_neighbours(flat(0.0, 1.0), near, torch.tensor([[0.9, 0.8], [0.7, 0.6]]), labels, near_labels)
    grey = [[centre_and_frame(sheet, row, column)[0][0] for column in range(3)] for row in range(2)]
    assert grey == [[0, 51, 102], [255, 153, 204]]
    frames = [[centre_and_frame(sheet, row, column)[1] for column in (1, 2)] for row in range(2)]
    assert frames == [[SAME, OTHER], [OTHER, SAME]]
    unknown = draw_neighbours(flat(0.0), flat(0.2)[None], torch.ones(1, 1))
    assert centre_and_frame(unknown, 0, 1)[1] == UNKNOWN


def test_crops_are_outlined_on_the_image_and_views_framed_in_their_colours():
    boxes = torch.tensor([[[0.0, 0.0, 0.5, 0.5], [0.5, 0.5, 1.0, 1.0], [0.25, 0.0, 0.75, 1.0]]])
    geometry = ViewGeometry(boxes, torch.tensor([[False, True, False]]))
    views = [torch.zeros(1, 3, 64, 64), torch.zeros(1, 3, 64, 64), torch.zeros(1, 3, 32, 32)]
    sheet = np.asarray(draw_crops([torch.zeros(3, 90, 90)], views, geometry))
    image = sheet[TITLE_HEIGHT + GAP :, GAP : GAP + 70]
    for colour, box in zip(VIEW_COLOURS, boxes[0], strict=False):
        rows, columns = np.nonzero((image == colour).all(axis=-1))
        found = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
        assert np.abs(np.array(found) / 70 - box.numpy()).max() < 0.03
    for number, colour in enumerate(VIEW_COLOURS[:3]):
        view = sheet[TITLE_HEIGHT + GAP :, GAP + (number + 1) * (70 + GAP) :][:70, :70]
        frame = 70**2 - 64**2
        assert (view == colour).all(axis=-1).sum() >= frame
        assert ((view == colour).all(axis=-1).sum() > frame) == (number == 1)  # the filled corner: mirrored
