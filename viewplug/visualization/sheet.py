"""Sheets of pictures: rows of cells under titles, and boxes drawn on them."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate

from PIL import Image, ImageDraw

TITLE_HEIGHT = 14
GAP = 4

Colour = tuple[int, int, int]


def lay_out(titles: Sequence[str], rows: Sequence[Sequence[Image.Image]]) -> Image.Image:
    """Rows of pictures on white, each column as wide as its widest picture, each row as high as its highest.

    Args:
        titles: one for each column.
        rows: at least one, of as many pictures as there are titles.
    """
    widths = [max(picture.width for picture in column) for column in zip(*rows, strict=True)]
    heights = [max(picture.height for picture in row) for row in rows]
    lefts = list(accumulate((width + GAP for width in widths), initial=GAP))
    tops = list(accumulate((height + GAP for height in heights), initial=TITLE_HEIGHT + GAP))
    sheet = Image.new('RGB', (lefts[-1], tops[-1]), 'white')
    pen = ImageDraw.Draw(sheet)
    for left, title in zip(lefts, titles, strict=False):
        pen.text((left, 1), title, fill='black')
    for top, row in zip(tops, rows, strict=False):
        for left, picture in zip(lefts, row, strict=False):
            sheet.paste(picture, (left, top))
    return sheet


def outline(
    picture: Image.Image,
    corners: Sequence[float],
    colour: Colour,
    dash: int | None = None,
    width: int = 1,
    tint: float = 0.0,
) -> None:
    """Draw a box on a picture, in place.

    Args:
        corners: x0, y0, x1, y1 in pixels, the last two exclusive.
        dash: length of dashes, pixels, one pixel wide; None is a line.
        width: of the line, pixels, inwards.
        tint: how much of the colour lies over what is inside, 0 to 1.
    """
    x0, y0, x1, y1 = (round(corner) for corner in corners)
    x1, y1 = max(x1 - 1, x0), max(y1 - 1, y0)
    if tint:
        ImageDraw.Draw(picture, 'RGBA').rectangle([x0, y0, x1, y1], fill=(*colour, round(255 * tint)))
    pen = ImageDraw.Draw(picture)
    if dash is None:
        pen.rectangle([x0, y0, x1, y1], outline=colour, width=width)
        return
    for start in range(x0, x1 + 1, 2 * dash):
        for y in (y0, y1):
            pen.line([start, y, min(start + dash - 1, x1), y], fill=colour, width=1)
    for start in range(y0, y1 + 1, 2 * dash):
        for x in (x0, x1):
            pen.line([x, start, x, min(start + dash - 1, y1)], fill=colour, width=1)
