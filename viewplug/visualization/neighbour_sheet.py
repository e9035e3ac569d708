"""A sheet of nearest neighbours: what a network takes for alike."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch.nn.functional as F
from PIL import Image, ImageDraw, ImageOps
from torch import Tensor
from torchvision.transforms.functional import to_pil_image

from viewplug.visualization.sheet import TITLE_HEIGHT, lay_out

MIN_SIDE = 64
FRAME = 3
TEXT = ImageDraw.Draw(Image.new('RGB', (1, 1)))
SAME, OTHER, UNKNOWN = (60, 170, 90), (214, 69, 65), (200, 200, 200)


def draw_neighbours(
    queries: Tensor,
    neighbours: Tensor,
    similarities: Tensor,
    labels: Tensor | None = None,
    neighbour_labels: Tensor | None = None,
    classes: Sequence[str] | None = None,
) -> Image.Image:
    """One row a query: itself, then its neighbours, nearest first, the cosine above each.

    With labels a frame is green where the class is the query's and red where it is not.

    Args:
        queries: (N, 3, H, W) RGB in [0, 1]. Drawn at least 64 pixels high.
        neighbours: (N, k, 3, H, W), likewise.
        similarities: (N, k), of each neighbour to its query.
        labels, neighbour_labels: (N,) and (N, k), if they are known.
        classes: names of the labels, above the queries.
    """
    scale = max(1, -(-MIN_SIDE // queries.shape[-2]))
    rows = []
    for n, query in enumerate(queries):
        name = '' if labels is None else (classes[int(labels[n])] if classes else f'class {int(labels[n])}')
        cells = [_cell(query, scale, name, None)]
        for k, picture in enumerate(neighbours[n]):
            colour = UNKNOWN
            if labels is not None and neighbour_labels is not None:
                colour = SAME if int(neighbour_labels[n, k]) == int(labels[n]) else OTHER
            cells.append(_cell(picture, scale, f'{float(similarities[n, k]):.3f}', colour))
        rows.append(cells)
    return lay_out(['query', *(f'nearest {k + 1}' for k in range(neighbours.shape[1]))], rows)


def _cell(pixels: Tensor, scale: int, caption: str, colour: tuple[int, int, int] | None) -> Image.Image:
    picture = to_pil_image(F.interpolate(pixels[None], scale_factor=scale, mode='nearest')[0].cpu())
    picture = ImageOps.expand(picture, FRAME, colour or 'white')
    width = max(picture.width, math.ceil(TEXT.textlength(caption)) + 2 * FRAME)
    cell = Image.new('RGB', (width, TITLE_HEIGHT + picture.height), 'white')
    ImageDraw.Draw(cell).text((FRAME, 1), caption, fill='black')
    cell.paste(picture, (0, TITLE_HEIGHT))
    return cell
