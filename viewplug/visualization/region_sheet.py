"""A sheet of what ReSim compares: windows of one view and the same regions of the other (ReSim, fig. 2)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import product

import torch.nn.functional as F
from PIL import Image, ImageColor, ImageDraw, ImageOps
from torch import Tensor
from torchvision.transforms.functional import to_pil_image

from viewplug.heads.region_windows import WindowGrid, boxes_of_grid
from viewplug.views import ViewGeometry
from viewplug.visualization.crop_sheet import FRAME, VIEW_COLOURS, whole_with_boxes
from viewplug.visualization.sheet import TITLE_HEIGHT, lay_out, outline

MIN_SIZE = 192
# Twelve hues, in an order in which neighbours differ.
WINDOW_COLOURS = tuple(ImageColor.getrgb(f'hsv({150 * k % 360}, 100%, 100%)') for k in range(12))


def draw_regions(
    images: Sequence[Tensor],
    views: Sequence[Tensor],
    geometry: ViewGeometry,
    grids: Sequence[WindowGrid],
    num_windows: int = len(WINDOW_COLOURS),
) -> Image.Image:
    """One row an image: whole, with the boxes of both views; then for each grid view 0 with windows that count, and
    view 1 with the same windows in the same colours.

    So that they can be told apart only windows that do not overlap are drawn; a line above says how many count.

    Args:
        images: N whole images (3, H_i, W_i), RGB in [0, 1], N at least 1.
        views: two views or more of each, (N, 3, S, S), RGB in [0, 1]. Drawn at least 192 pixels high.
        geometry: where the views were cut.
        grids: of the head (``viewplug.RegionHead.grids``), one a level.
        num_windows: of an image and a grid, at most; 1 to 12, one a colour.

    Raises:
        ValueError: views of another size than the windows are meant for, or ``num_windows`` out of its range.
    """
    if not 1 <= num_windows <= len(WINDOW_COLOURS):
        raise ValueError(f'num_windows must lie in 1 to {len(WINDOW_COLOURS)}, got {num_windows}')
    sizes = [tuple(view.shape[-2:]) for view in views[:2]]
    wrong = [grid.input_size for grid in grids if any(size != (grid.input_size,) * 2 for size in sizes)]
    if wrong or len(sizes) < 2:
        raise ValueError(
            f'RegionHead: input_size={wrong[0] if wrong else grids[0].input_size} is for two views of that side, got '
            f'(height, width) {sizes}; set input_size to the side of the views'
        )
    scale = max(1, math.ceil(MIN_SIZE / sizes[0][0]))
    side = scale * sizes[0][0]
    shown = [F.interpolate(view, scale_factor=scale, mode='nearest') for view in views[:2]]
    titles = ['image, views 0 and 1']
    for grid in grids:
        titles += [
            f'view 0: windows of {grid.window} px, step {grid.stride}',
            f'view 1: the same, map of stride {grid.downsample}',
        ]
    matches = [grid.match(geometry, 0, 1) for grid in grids]
    rows = []
    for n, image in enumerate(images):
        cells = [_captioned(whole_with_boxes(image, geometry.boxes[n, :2], side + 2 * FRAME), '')]
        for grid, (columns, lines, valid) in zip(grids, matches, strict=True):
            own = grid.spans(columns)[None]
            boxes = boxes_of_grid(own, own)[0], boxes_of_grid(columns, lines)[n]
            drawn = windows_apart(valid[n], grid, num_windows)
            captions = [f'{int(valid[n].sum())} of {grid.count**2} count, {len(drawn)} drawn', '']
            for view in (0, 1):
                picture = to_pil_image(shown[view][n].cpu())
                for (y, x), colour in zip(drawn, WINDOW_COLOURS, strict=False):
                    outline(picture, (boxes[view][y, x] * side).tolist(), colour, width=2, tint=0.2)
                mirrored = 'mirrored' * bool(geometry.flips[n, view])
                caption = ', '.join(part for part in (captions[view], mirrored) if part)
                cells.append(_captioned(ImageOps.expand(picture, FRAME, VIEW_COLOURS[view]), caption))
        rows.append(cells)
    return lay_out(titles, rows)


def windows_apart(valid: Tensor, grid: WindowGrid, most: int) -> list[tuple[int, int]]:
    """Rows and columns of windows of one image that count and do not overlap, ``most`` of them, evenly spread.

    Args:
        valid: (G, G) bool, whether the window of row y and column x counts.
    """
    step = math.ceil(grid.window / grid.stride)
    top, left = max(
        product(range(step), repeat=2), key=lambda start: int(valid[start[0] :: step, start[1] :: step].sum())
    )
    apart = valid[top::step, left::step].nonzero().tolist()
    number = min(most, len(apart))
    picked = [apart[k * len(apart) // number] for k in range(number)]
    return [(top + step * y, left + step * x) for y, x in picked]


def _captioned(picture: Image.Image, caption: str) -> Image.Image:
    cell = Image.new('RGB', (picture.width, TITLE_HEIGHT + picture.height), 'white')
    ImageDraw.Draw(cell).text((0, 1), caption, fill='black')
    cell.paste(picture, (0, TITLE_HEIGHT))
    return cell
