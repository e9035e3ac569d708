"""A sheet of what localisation sees and does: image and box, heat map, sampled crops (ContrastiveCrop, fig. 1 to 3)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn
from torchvision.transforms.functional import to_pil_image

from viewplug.config.channel_order import order_drawn
from viewplug.crop_sampling import sample_crop
from viewplug.ops.heatmap_boxes import normalise_heatmaps, upsample_heatmaps
from viewplug.visualization.sheet import lay_out, outline

if TYPE_CHECKING:
    from viewplug.transforms import ContrastiveCrop

MIN_HEIGHT = 96
BOX_COLOUR = (255, 220, 0)
CROP_COLOURS = ((80, 200, 255), (120, 255, 120), (255, 120, 200), (255, 160, 60))


def order_as_loaded(preprocessor: nn.Module, cfg: Mapping[str, Any], seen: str | None = None) -> str:
    """'bgr' or 'rgb', channels of the images that a data preprocessor gets.

    Args:
        cfg: of the run, for the order in which its network sees them; RGB where it says nothing of it.
        seen: the order that it sees, 'rgb' or 'bgr', where it is not to be the config's.
    """
    swaps = bool(getattr(preprocessor, '_channel_conversion', False))
    return 'bgr' if swaps != (order_drawn(cfg, seen) == 'bgr') else 'rgb'


def draw_boxes(
    images: Tensor,
    heatmaps: Tensor,
    boxes: Tensor,
    crop: ContrastiveCrop,
    channel_order: str = 'rgb',
    num_crops: int = 4,
) -> Image.Image:
    """One row an image: with its box (dashed) and the outlines of the crops; its heat map; the crops.

    Crops are drawn from ``np.random`` in the box, on the image as it is given.

    Args:
        images: (N, C, H, W) uint8, C 1 or 3, N at least 1. Drawn at least 96 pixels high.
        heatmaps: (N, h, w), any scale; a dead one is drawn as no heat.
        boxes: (N, 4), fractions of the image.
        crop: Says how crops are drawn (ranges, centre), and their size.
        channel_order: Of the images, 'rgb' or 'bgr'.
        num_crops: Of each image.
    """
    number, channels, height, width = images.shape
    pixels = images.expand(-1, 3, -1, -1) if channels == 1 else images
    pixels = (pixels.flip(1) if channel_order == 'bgr' else pixels).cpu().float() / 255
    scale = max(1, -(-MIN_HEIGHT // height))
    size = height * scale, width * scale
    shown = F.interpolate(pixels, size=size, mode='nearest')
    heat = upsample_heatmaps(normalise_heatmaps(heatmaps.cpu())[0], size)
    titles = ['image, box, crops', 'heat map', *(f'crop {k + 1}' for k in range(num_crops))]
    rows = []
    for row in range(number):
        found = [_sample(crop, height, width, boxes[row].cpu()) for _ in range(num_crops)]
        outlined = to_pil_image(shown[row])
        for k, (top, left, crop_height, crop_width) in enumerate(found):
            corners = [left, top, left + crop_width, top + crop_height]
            outline(outlined, [scale * corner for corner in corners], CROP_COLOURS[k % len(CROP_COLOURS)])
        outline(outlined, (boxes[row].cpu() * torch.tensor([size[1], size[0]] * 2)).tolist(), BOX_COLOUR, dash=6)
        views = [pixels[row, :, top : top + h, left : left + w] for top, left, h, w in found]
        views = [F.interpolate(view[None], size=size, mode='bilinear')[0] for view in views]
        cells = [outlined, to_pil_image(_overlay(shown[row], heat[row])), *(to_pil_image(view) for view in views)]
        rows.append(cells)
    return lay_out(titles, rows)


def _sample(crop: ContrastiveCrop, height: int, width: int, box: Tensor) -> tuple[int, int, int, int]:
    return sample_crop(
        height,
        width,
        box if crop.localize else None,
        crop.crop_ratio_range,
        crop.aspect_ratio_range,
        crop.alpha,
        crop.center,
        crop.max_attempts,
    )


def _overlay(image: Tensor, heat: Tensor) -> Tensor:
    """The image in grey under blue (0) to red (1)."""
    stops = heat * 4
    colour = torch.stack([(1.5 - (stops - peak).abs()).clamp(0, 1) for peak in (3, 2, 1)])
    return 0.5 * image.mean(dim=0, keepdim=True) + 0.5 * colour
