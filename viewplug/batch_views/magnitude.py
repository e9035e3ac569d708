"""How strongly mmpretrain's augmentations with a magnitude are applied, drawn per sample."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch


class Magnitude:
    """A fixed value, or mmpretrain's ``BaseAugTransform`` scheme, same arguments and defaults.

    A level in [0, total_level] is mapped linearly onto ``magnitude_range``.

    Args:
        name: of the operator and its argument, for errors.
        fixed: the value, if it is fixed.
        magnitude_range: the values of level 0 and of ``total_level``, if it is not.
        magnitude_level: the level.
        magnitude_std: 'inf' draws the level uniformly from [0, magnitude_level]; a positive number draws it from a
            normal distribution of that deviation; otherwise it stays.

    Raises:
        ValueError: a level beyond its range; both or neither of ``fixed`` and ``magnitude_range`` are given.
    """

    def __init__(
        self,
        name: str,
        fixed: float | None,
        magnitude_range: Sequence[float] | None = None,
        magnitude_level: float = 10,
        magnitude_std: str | float = 0.0,
        total_level: float = 10,
    ) -> None:
        if (fixed is None) == (magnitude_range is None):
            raise ValueError(
                f'{name} or magnitude_range must be given, and not both: got {fixed} and {magnitude_range}'
            )
        if isinstance(magnitude_std, str) and magnitude_std != 'inf':
            raise ValueError(f"{name}: magnitude_std must be a number or 'inf', got {magnitude_std!r}")
        if not (total_level > 0 and 0 <= magnitude_level <= total_level):
            raise ValueError(
                f'{name}: magnitude_level must lie in [0, total_level], got {magnitude_level} of {total_level}'
            )
        self.name = name
        self.fixed = fixed
        self.range = magnitude_range
        self.level = magnitude_level
        self.std = magnitude_std
        self.total = total_level

    def check_least(self, least: float) -> None:
        """
        Raises:
            ValueError: a value that can be drawn lies below ``least``.
        """
        values = [self.fixed] if self.fixed is not None else list(self.range)
        if min(values) < least:
            raise ValueError(f'{self.name} must be at least {least}, got {values}')

    def draw(self, n: int, generator: torch.Generator | None = None) -> np.ndarray:
        """(n,) float32."""
        if self.fixed is not None:
            return np.full(n, self.fixed, dtype=np.float32)
        level = np.full(n, self.level, dtype=np.float32)
        if self.std == 'inf':
            level *= torch.rand(n, generator=generator).numpy()
        elif self.std > 0:
            level = np.clip(level + torch.randn(n, generator=generator).numpy() * self.std, 0, self.total)
        low, high = self.range
        return (level / self.total * (high - low) + low).astype(np.float32)
