"""A sheet of where views were cut: the whole image with their boxes, and the views, framed in the boxes' colours."""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from PIL import Image, ImageColor, ImageOps
from torch import Tensor
from torchvision.transforms.functional import to_pil_image

from viewplug.views import ViewGeometry
from viewplug.visualization.sheet import lay_out, outline

FRAME = 3
MIN_SIDE = 64
VIEW_COLOURS = (
    (255, 220, 0),
    (80, 200, 255),
    *(ImageColor.getrgb(f'hsv({hue}, 80%, 100%)') for hue in (120, 330, 20, 270, 90, 160, 0, 220)),
)


def draw_crops(images: Sequence[Tensor], views: Sequence[Tensor], geometry: ViewGeometry) -> Image.Image:
    """One row an image: whole, with the boxes of all views, then each view. A filled corner means mirrored.

    Args:
        images: N whole images (3, H_i, W_i), RGB in [0, 1], N at least 1.
        views: V views of each, (N, 3, H_v, W_v), RGB in [0, 1]. Drawn at least 64 pixels high.
        geometry: where the views were cut.
    """
    scales = [max(1, -(-MIN_SIDE // view.shape[-2])) for view in views]
    shown = [F.interpolate(view, scale_factor=scale, mode='nearest') for view, scale in zip(views, scales, strict=True)]
    side = max(view.shape[-2] for view in shown)
    titles = ['image', *(f'{number}: {view.shape[-1]}x{view.shape[-2]}' for number, view in enumerate(views))]
    rows = []
    for n, image in enumerate(images):
        cells = [whole_with_boxes(image, geometry.boxes[n], side + 2 * FRAME)]
        for number, view in enumerate(shown):
            colour = VIEW_COLOURS[number % len(VIEW_COLOURS)]
            picture = ImageOps.expand(to_pil_image(view[n].cpu()), FRAME, colour)
            if geometry.flips[n, number]:
                outline(picture, (picture.width - 4 * FRAME, 0, picture.width, 4 * FRAME), colour, tint=1.0)
            cells.append(picture)
        rows.append(cells)
    return lay_out(titles, rows)


def whole_with_boxes(image: Tensor, boxes: Tensor, side: int) -> Image.Image:
    """An image (3, H, W), as high as ``side`` pixels unless it is very wide, with boxes (V, 4), fractions of it."""
    picture = to_pil_image(image.cpu())
    factor = min(side / picture.height, 1.5 * side / picture.width)
    size = max(1, round(picture.width * factor)), max(1, round(picture.height * factor))
    picture = picture.resize(size, Image.Resampling.BILINEAR)
    for number, box in enumerate(boxes.tolist()):
        corners = [corner * length for corner, length in zip(box, size * 2, strict=True)]
        outline(picture, corners, VIEW_COLOURS[number % len(VIEW_COLOURS)], width=FRAME)
    return picture
