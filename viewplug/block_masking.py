"""Which patches of a view are hidden from the student: rectangles of them (iBOT, BEiT). numpy only."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

ATTEMPTS = 10  # rectangles in a row that do not fit before a mask stays as it is


@dataclass
class BlockMasking:
    """Block-wise masks of patch grids, drawn as iBOT (arXiv:2111.07832, sec. 3.3, app. A) and BEiT draw them.

    A view is masked with probability ``prob``. Its share of masked patches is drawn from ``ratio`` +- ``ratio_spread``;
    rectangles of random area and aspect ratio are added, overlaps allowed, none beyond that share, until it is reached
    or ten in a row do not fit. So the share is a bound from above, met to within a few patches.

    Args:
        grid: patches of a view, (height, width) or one number for both: view size / patch size.
        ratio, ratio_spread: of the masked patches; the share is uniform in between.
        prob: chance that a view is masked at all.
        aspect_ratio_range: height over width of a rectangle, log-uniform.

    Raises:
        ValueError: an argument out of its range.
    """

    grid: int | tuple[int, int]
    ratio: float = 0.3
    ratio_spread: float = 0.2
    prob: float = 0.5
    aspect_ratio_range: tuple[float, float] = (0.3, 1 / 0.3)

    def __post_init__(self) -> None:
        self.grid = (self.grid, self.grid) if isinstance(self.grid, int) else tuple(self.grid)
        if len(self.grid) != 2 or not all(isinstance(side, int) and side >= 2 for side in self.grid):
            raise ValueError(f'block masks: grid must be one or two numbers of patches, at least 2, got {self.grid}')
        if not 0 <= self.ratio - self.ratio_spread <= self.ratio + self.ratio_spread <= 1:
            raise ValueError(
                'block masks: ratio - ratio_spread and ratio + ratio_spread must lie in [0, 1], got '
                f'ratio={self.ratio}, ratio_spread={self.ratio_spread}'
            )
        if not 0 <= self.prob <= 1:
            raise ValueError(f'block masks: prob must lie in [0, 1], got {self.prob}')
        low, high = self.aspect_ratio_range
        if not 0 < low <= high < math.inf:
            raise ValueError(f'block masks: aspect_ratio_range must be (min, max), got {self.aspect_ratio_range}')

    def draw(self, number: int, uniform: Callable[[int], np.ndarray] = np.random.random_sample) -> np.ndarray:
        """Masks of ``number`` views at once.

        Args:
            uniform: n -> (n,) numbers in [0, 1), the only source of random numbers.

        Returns:
            (number, height, width) bool, True where a patch is masked.
        """
        height, width = self.grid
        smallest = (min(self.grid) // 3) ** 2
        log_low, log_high = (math.log(value) for value in self.aspect_ratio_range)
        masks = np.zeros((number, height, width), bool)
        failures = np.zeros(number, int)
        masked = uniform(number) < self.prob
        share = self.ratio + self.ratio_spread * (2 * uniform(number) - 1)
        room = np.where(masked, share * height * width, 0)
        while len(rows := np.flatnonzero((room >= 1) & (failures < ATTEMPTS))):
            draws = uniform(4 * len(rows)).reshape(4, -1)
            area = smallest + (room[rows] - smallest) * draws[0]
            aspect = np.exp(log_low + (log_high - log_low) * draws[1])
            vertical = _spans(np.rint(np.sqrt(area * aspect)), height, draws[2])
            horizontal = _spans(np.rint(np.sqrt(area / aspect)), width, draws[3])
            blocks = vertical[:, :, None] & horizontal[:, None, :]
            new = (blocks & ~masks[rows]).sum(axis=(1, 2))
            fits = (new > 0) & (new <= room[rows])
            masks[rows[fits]] |= blocks[fits]
            room[rows] -= np.where(fits, new, 0)
            failures[rows] = np.where(fits, 0, failures[rows] + 1)
        return masks


def _spans(lengths: np.ndarray, size: int, position: np.ndarray) -> np.ndarray:
    """(n, size) bool: runs of ``lengths`` patches somewhere in ``size``; none where a run does not leave one over."""
    start = np.floor(position * (size - lengths + 1))[:, None]
    place = np.arange(size)
    return (place >= start) & (place < start + lengths[:, None]) & (lengths < size)[:, None]
