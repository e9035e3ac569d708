"""A sheet of where class token and query patches look (ADCLR, fig. 1, right)."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from PIL import Image, ImageColor, ImageDraw
from torch import Tensor
from torchvision.transforms.functional import to_pil_image

from viewplug.ops.heatmap_boxes import normalise_heatmaps, upsample_heatmaps
from viewplug.visualization.sheet import Colour, lay_out, outline

MIN_SIZE = 160
FRAME = 3
INSET = 0.3  # of a cell's side, the query patch in the corner of its map
CLASS_COLOUR = (255, 255, 255)
# Hues in an order in which neighbours differ.
QUERY_COLOURS = tuple(ImageColor.getrgb(f'hsv({150 * k % 360}, 90%, 100%)') for k in range(12))


def draw_attention(
    images: Tensor,
    queries: Tensor,
    query_boxes: Tensor,
    class_maps: Tensor,
    query_maps: Tensor,
    row_titles: Sequence[str] = (),
) -> Image.Image:
    """One row an image: with its query crops framed; the class token's map; a map of each query in its frame's colour.

    A map is stretched from its minimum to its maximum, and laid over the image in grey: dark is little attention, the
    full colour the most. The query patch, as the network gets it, stands framed in the corner of its map.

    Args:
        images: (N, 3, H, W), RGB in [0, 1], N at least 1. Drawn at least 160 pixels high.
        queries: (N, Q, 3, p, p), RGB in [0, 1].
        query_boxes: (N, Q, 4), fractions of the image.
        class_maps: (N, h, w), any scale.
        query_maps: (N, Q, h, w).
        row_titles: what to write into the first cell of each row.

    Raises:
        ValueError: more queries than colours.
    """
    number, count = queries.shape[:2]
    if count > len(QUERY_COLOURS):
        raise ValueError(f'{len(QUERY_COLOURS)} queries can be told apart on a sheet, got {count}')
    scale = max(1, math.ceil(MIN_SIZE / images.shape[-2]))
    shown = F.interpolate(images.cpu(), scale_factor=scale, mode='nearest')
    height, width = shown.shape[-2:]
    rows = []
    for row in range(number):
        framed = to_pil_image(shown[row])
        for box, colour in zip(query_boxes[row].tolist(), QUERY_COLOURS, strict=False):
            corners = [corner * side for corner, side in zip(box, (width, height) * 2, strict=True)]
            outline(framed, corners, colour, width=FRAME)
        if row < len(row_titles):
            _write(framed, row_titles[row])
        cells = [framed, _tinted(shown[row], class_maps[row], CLASS_COLOUR)]
        for query, heat, colour in zip(queries[row], query_maps[row], QUERY_COLOURS, strict=False):
            cell = _tinted(shown[row], heat, colour)
            side = round(INSET * min(height, width))
            patch = to_pil_image(query.cpu().clamp(0, 1)).resize((side, side), Image.Resampling.NEAREST)
            cell.paste(patch, (0, 0))
            outline(cell, (0, 0, side, side), colour, width=FRAME)
            cells.append(cell)
        rows.append(cells)
    return lay_out(['image, queries', 'class token', *(f'query {k + 1}' for k in range(count))], rows)


def _tinted(image: Tensor, heat: Tensor, colour: Colour) -> Image.Image:
    """The image in grey, dark where ``heat`` (h, w) is low and in the colour where it is high."""
    heat = upsample_heatmaps(normalise_heatmaps(heat[None].cpu())[0], tuple(image.shape[-2:]))[0].clamp(0, 1)
    grey = image.mean(dim=0, keepdim=True)
    tint = torch.tensor(colour).view(3, 1, 1) / 255
    return to_pil_image((grey * 0.45 * (1 - heat) + tint * heat * (0.45 + 0.55 * grey)).clamp(0, 1))


def _write(picture: Image.Image, text: str) -> None:
    pen = ImageDraw.Draw(picture)
    pen.rectangle(pen.textbbox((3, 2), text), fill='black')
    pen.text((3, 2), text, fill='white')
