"""Turns by multiples of 90 degrees, for whole batches."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from viewplug.devices import to_device

from .operator import Operator, Params, check_prob, put_rows


class QuarterTurn(Operator):
    """Turn each view by a number of right angles drawn for it (SimCLR, arXiv:2002.05709, fig. 4f). Exact.

    Args:
        turns: the numbers to draw from, in quarters of a turn, counter-clockwise: 0, 1, 2 or 3 each.
        prob: chance that a sample is turned.

    Raises:
        ValueError: other numbers, or none; when it runs, an odd number of quarters of a view that is not square.
    """

    def __init__(self, turns: Sequence[int] = (1, 2, 3), prob: float = 0.5) -> None:
        self.turns = check_turns(turns)
        self.prob = check_prob('QuarterTurn', prob)
        # Mirrored, a turn is the opposite turn.
        self.mirrors = sorted(self.turns) == sorted(-turn % 4 for turn in self.turns)

    def draw(self, n: int, generator: torch.Generator | None = None) -> Params:
        drawn = torch.randint(len(self.turns), (n,), generator=generator).numpy()
        return dict(turns=np.asarray(self.turns)[drawn])

    def run(self, images: Tensor, turns: np.ndarray) -> Tensor:
        if images.shape[-1] != images.shape[-2] and (turns % 2).any():
            raise ValueError(
                f'QuarterTurn: quarters of a turn need square views, got {images.shape[-2]} x {images.shape[-1]}; '
                'set turns=(2,)'
            )
        for turn in (1, 2, 3):
            index = np.flatnonzero(turns == turn)
            if index.size:
                turned = images.index_select(0, to_device(index, images.device)).rot90(turn, (2, 3))
                put_rows(images, index, turned)
        return images


def check_turns(turns: Sequence[int]) -> tuple[int, ...]:
    """``turns``, if they are numbers of quarters of a turn."""
    if isinstance(turns, int) or not turns or not set(turns) <= {0, 1, 2, 3}:
        raise ValueError(f'QuarterTurn: turns must be some of 0, 1, 2 and 3, got {turns!r}')
    return tuple(turns)
