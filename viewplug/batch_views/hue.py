"""Turning the hue of whole batches."""

from __future__ import annotations

import torch
from torch import Tensor

from viewplug.devices import to_device


def rotate_hue(images: Tensor, turns: Tensor) -> Tensor:
    """Shift H of the hexcone HSV model (A. R. Smith 1978), S and V unchanged.

    The colours of one value and saturation lie on a hexagon of perimeter 6. With the channels scaled to
    0 (smallest) ... 1 (largest), the way along it from a pixel to pure red is 1 + g + b - r whatever the sector, to the
    left or right as b - g says; and a channel is 1 up to 1 away from its pure colour, 0 from 2 on. So no sector has to
    be told from another, which is what makes conversion to HSV and back slow.

    Args:
        images: (N, 3, h, w) float, BGR.
        turns: (N,) in [-0.5, 0.5], the shift as a part of the circle, positive from red to green.

    Returns:
        (N, 3, h, w), new memory.
    """
    blue, green, red = images.unbind(1)
    low = torch.minimum(torch.minimum(blue, green), red)
    high = torch.maximum(torch.maximum(blue, green), red)
    chroma = high - low
    # Signed way from cyan, opposite of red: 3 - (1 + g + b - r), in [-3, 3].
    from_cyan = (red - green).sub_(blue).add_(low).div_(chroma.clamp_min(1e-6)).add_(2)
    from_cyan = torch.copysign(from_cyan, blue - green)
    # Likewise from yellow for blue (two further on), from magenta for green (two back).
    offsets = to_device(torch.tensor([2.0, -2.0, 0.0]), turns.device)
    shifts = torch.remainder(6 * turns[:, None] + offsets + 3, 6) - 3
    away = from_cyan.unsqueeze(1) + shifts[:, :, None, None]
    # |away| <= 6: fold it back into one round, then high where 2 or more from the opposite colour, low within 1.
    away.abs_().sub_(3).abs_().clamp_(1, 2)
    return torch.addcmul((high + chroma).unsqueeze(1), away, chroma.unsqueeze(1), value=-1, out=away)
