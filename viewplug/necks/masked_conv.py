"""CPC's context network: what is above a patch, as one vector, never what is below it."""

from __future__ import annotations

from mmengine.model import BaseModule
from torch import Tensor, nn
from torch.nn import functional as F

from viewplug.registry import MODELS

DIRECTIONS = ('down', 'up', 'right', 'left')
"""Where the patches to predict lie, seen from the patches that are known."""


def toward(grid: Tensor, direction: str) -> Tensor:
    """Turn the last two dimensions (rows, cols) so that what lies in ``direction`` comes to lie below.

    'up' swaps top and bottom; 'right' makes columns rows; 'left' does so from the last column on.
    """
    if direction in ('right', 'left'):
        grid = grid.transpose(-2, -1)
    return grid.flip(-2) if direction in ('up', 'left') else grid


@MODELS.register_module()
class MaskedConvContext(BaseModule):
    """Residual blocks of masked convolutions (CPC v2, arXiv:1905.09272, app.; CPC, arXiv:1807.03748, sec. 3.3).

    The context of row u is made of the rows 0 to u, all columns, and of no row below: a block sees three columns of
    its own row and the one above (a 1 x 3 convolution, then a 2 x 1 padded at the top), so ``num_layers`` blocks see
    ``num_layers`` rows up and as many columns to both sides. A change below a row never changes its context, exactly.

    Args:
        in_channels: length of a patch's vector, D; also of a context.
        hidden_channels: inside a block.
        num_layers: blocks.

    Raises:
        ValueError: ``num_layers`` below 1.
    """

    def __init__(self, in_channels: int, hidden_channels: int = 256, num_layers: int = 5, init_cfg=None) -> None:
        super().__init__(init_cfg)
        if num_layers < 1:
            raise ValueError(f'MaskedConvContext: num_layers must be at least 1, got {num_layers}')
        self.blocks = nn.ModuleList(_Block(in_channels, hidden_channels) for _ in range(num_layers))
        self.out_channels = in_channels

    def forward(self, latents: Tensor) -> Tensor:
        """(N, D, rows, cols) vectors of patches -> (N, D, rows, cols) contexts."""
        for block in self.blocks:
            latents = latents + block(latents)
        return F.relu(latents)


class _Block(nn.Module):
    def __init__(self, channels: int, hidden: int) -> None:
        super().__init__()
        self.reduce = nn.Conv2d(channels, hidden, 1)
        self.across = nn.Conv2d(hidden, hidden, (1, 3), padding=(0, 1))
        self.above = nn.Conv2d(hidden, hidden, (2, 1))
        self.expand = nn.Conv2d(hidden, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.across(F.relu(self.reduce(x)))
        x = self.above(F.pad(x, (0, 0, 1, 0)))  # a row of zeros at the top: an output row sees itself and the one above
        return self.expand(F.relu(x))
