"""A sheet of views: one row per image, one column per view, as the network sees them."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from PIL import Image, ImageDraw
from torch import Tensor, nn
from torchvision.transforms.functional import to_pil_image
from torchvision.utils import make_grid

from viewplug.config.channel_order import order_drawn

TITLE_HEIGHT = 14
MIN_HEIGHT = 64


def draw_views(
    views: Sequence[Tensor],
    mean: Tensor | Sequence[float] | None = None,
    std: Tensor | Sequence[float] | None = None,
    channel_order: str = 'rgb',
    num_images: int = 8,
) -> Image.Image:
    """Draw the first images of a batch.

    Args:
        views: V normalised tensors (N, C, H_v, W_v), C 1 or 3. Views are scaled (nearest) to the first one's height,
            or to 64 pixels where that is less; the titles give the number and the true width x height.
        mean, std: What they were normalised with, C values in the range of the pixels, 0..255 or, when none is above
            1, 0..1. None: each view is stretched from its minimum to its maximum.
        channel_order: Of the tensors, 'rgb' or 'bgr'.
        num_images: Rows, at most.

    Raises:
        ValueError: On views that are not images, or an unknown channel order.
    """
    if channel_order not in ('rgb', 'bgr'):
        raise ValueError(f"channel_order must be 'rgb' or 'bgr', got {channel_order!r}.")
    bad = [tuple(view.shape) for view in views if view.ndim != 4 or view.shape[1] not in (1, 3)]
    if bad or not views:
        raise ValueError(f'views must be tensors (N, 1 or 3, H, W), got {bad}.')
    height = max(views[0].shape[-2], MIN_HEIGHT)
    columns, titles = [], []
    for number, view in enumerate(views):
        pixels = denormalise(view[:num_images].detach().cpu(), mean, std)
        pixels = pixels.flip(1) if channel_order == 'bgr' else pixels
        size = height, max(1, round(view.shape[-1] * height / view.shape[-2]))
        column = make_grid(F.interpolate(pixels, size=size, mode='nearest'), nrow=1, padding=2, pad_value=1)
        titles.append((sum(c.shape[2] for c in columns) + 3, f'{number}: {view.shape[-1]}x{view.shape[-2]}'))
        columns.append(column)
    rows = max(column.shape[1] for column in columns)
    grid = torch.cat([F.pad(column, (0, 0, 0, rows - column.shape[1]), value=1) for column in columns], dim=2)
    sheet = to_pil_image(F.pad(grid, (0, 0, TITLE_HEIGHT, 0), value=1))
    draw = ImageDraw.Draw(sheet)
    for left, title in titles:
        draw.text((left, 1), title, fill='black')
    return sheet


def rgb_pixels(images: Tensor, preprocessor: nn.Module, cfg: Mapping[str, Any], seen: str | None = None) -> Tensor:
    """(N, C, H, W) network inputs -> pixels in [0, 1], RGB whatever order the network of this config sees.

    Args:
        preprocessor: the data preprocessor that made them.
        seen: the order that it sees, 'rgb' or 'bgr', where it is not to be the config's.
    """
    pixels = denormalise(images, *(getattr(preprocessor, name, None) for name in ('mean', 'std')))
    return pixels.flip(1) if order_drawn(cfg, seen) == 'bgr' else pixels


def denormalise(images: Tensor, mean=None, std=None) -> Tensor:
    """(N, C, H, W) network inputs -> pixels in [0, 1], clipped; see :func:`draw_views` for ``mean`` and ``std``."""
    images = images.float()
    if mean is None or std is None:
        low, high = images.amin(), images.amax()
        return (images - low) / (high - low).clamp_min(torch.finfo(images.dtype).tiny)
    mean, std = (torch.as_tensor(value).detach().cpu().float().view(1, -1, 1, 1) for value in (mean, std))
    scale = 1 if max(mean.max(), std.max()) <= 1 else 255
    return ((images * std + mean) / scale).clamp(0, 1)
