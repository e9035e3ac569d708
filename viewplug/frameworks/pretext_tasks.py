"""What ``viewplug.Pretext`` asks: which way up, which order, which neighbour."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from viewplug.devices import to_device
from viewplug.registry import MODELS

from .permutations import distant_permutations


@MODELS.register_module()
class RotationTask(nn.Module):
    """Tell by how many quarter turns an image was rotated (arXiv:1803.07728, sec. 2 and 3).

    Every image is seen in all four turns in the same step, which is what the paper found to work best. Images must be
    square and upright by nature.
    """

    source, num_parts, num_classes = 'inputs', 1, 4

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """(N, 3, H, H) -> parts (4 N, 1, 3, H, H), labels (4 N,): quarter turns counter-clockwise."""
        if images.shape[-2] != images.shape[-1]:
            raise ValueError(
                f'RotationTask: images must be square, got {images.shape[-2]} x {images.shape[-1]} pixels; crop them'
            )
        turned = [torch.rot90(images, turns, dims=(-2, -1)) for turns in range(4)]
        labels = torch.arange(4, device=images.device).repeat_interleave(len(images))
        return torch.cat(turned).unsqueeze(1), labels


@MODELS.register_module()
class JigsawTask(nn.Module):
    """Tell in which of a set of orders the tiles of an image lie (arXiv:1603.09246, sec. 3 and 4).

    Shortcuts and what closes them: edges that fit (``viewplug.PatchGrid`` with ``jitter``), light (``standardize``),
    chromatic aberration (grey images or ``viewplug.DropColours`` in the pipeline, and the jitter).

    Args:
        num_permutations: size of the set, which is made by ``distant_permutations`` and kept in the checkpoint.
        grid: rows and columns of tiles.
        seed: of the set.
        standardize: subtract each tile's mean and divide by its deviation, channel by channel (sec. 4.2).

    Raises:
        ValueError: more permutations than there are; a batch with another grid.
    """

    source = 'patches'

    def __init__(
        self, num_permutations: int = 100, grid: tuple[int, int] = (3, 3), seed: int = 0, standardize: bool = True
    ) -> None:
        super().__init__()
        self.grid, self.standardize = tuple(grid), standardize
        self.num_parts, self.num_classes = grid[0] * grid[1], num_permutations
        self.register_buffer('permutations', distant_permutations(self.num_parts, num_permutations, seed))

    def forward(self, patches: Tensor) -> tuple[Tensor, Tensor]:
        """(N, rows, cols, 3, p, p) -> parts (N, rows * cols, 3, p, p), labels (N,): rows of ``permutations``.

        Part i is the tile whose number, counted along rows, is ``permutations[label, i]``.
        """
        check_grid('JigsawTask', self.grid, patches)
        tiles = patches.flatten(1, 2)
        labels = drawn(len(tiles), self.num_classes, tiles.device)
        order = self.permutations[labels]
        parts = tiles[torch.arange(len(tiles), device=tiles.device).unsqueeze(1), order]
        return standardised(parts) if self.standardize else parts, labels


@MODELS.register_module()
class RelativePositionTask(nn.Module):
    """Tell which of the eight neighbours of the middle patch another patch is (arXiv:1505.05192, sec. 3).

    Args:
        standardize: as of ``viewplug.JigsawTask``; the paper does not, but drops colours (whose noise,
            ``DropColours(fill='noise')``, it would blow up to the size of the channel that is kept).

    Raises:
        ValueError: a batch whose grid is not 3 x 3.
    """

    source, num_parts, num_classes = 'patches', 2, 8

    def __init__(self, standardize: bool = False) -> None:
        super().__init__()
        self.standardize = standardize

    def forward(self, patches: Tensor) -> tuple[Tensor, Tensor]:
        """(N, 3, 3, 3, p, p) -> parts (N, 2, 3, p, p): middle, neighbour; labels (N,): neighbours along rows."""
        check_grid('RelativePositionTask', (3, 3), patches)
        tiles = patches.flatten(1, 2)
        labels = drawn(len(tiles), 8, tiles.device)
        place = labels + (labels >= 4)  # the middle, number 4, is left out
        neighbour = tiles[torch.arange(len(tiles), device=tiles.device), place]
        parts = torch.stack([tiles[:, 4], neighbour], dim=1)
        return standardised(parts) if self.standardize else parts, labels


def check_grid(who: str, grid: tuple[int, int], patches: Tensor) -> None:
    if patches.dim() != 6 or tuple(patches.shape[1:3]) != grid:
        raise ValueError(
            f'{who} needs patches (N, {grid[0]}, {grid[1]}, 3, p, p), got {tuple(patches.shape)}; set patch_size, '
            'stride and the size of the image before PatchGrid so that this many fit'
        )


def standardised(tiles: Tensor) -> Tensor:
    """Tiles (..., 3, h, w) with mean 0 and deviation 1 in each channel, so that none tells its place by its light."""
    return (tiles - tiles.mean(dim=(-2, -1), keepdim=True)) / (tiles.std(dim=(-2, -1), keepdim=True) + 1e-5)


def drawn(number: int, options: int, device: torch.device) -> Tensor:
    """(number,) int64 below ``options``, from torch's CPU generator: a GPU draws what a CPU draws."""
    return to_device(torch.randint(options, (number,)), device)
