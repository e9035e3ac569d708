"""Turns by multiples of 90 degrees."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from mmcv.transforms import BaseTransform

from viewplug.batch_views.operator import check_prob
from viewplug.batch_views.quarter_turn import check_turns
from viewplug.registry import TRANSFORMS


@TRANSFORMS.register_module()
class QuarterTurn(BaseTransform):
    """Turn the image by a number of right angles (SimCLR, arXiv:2002.05709, fig. 4f). Exact.

    Modified keys: ``img``, ``img_shape``. The geometry of views (``crop_box``, ``flip``) says nothing of it.

    Args:
        turns: the numbers to draw from, in quarters of a turn, counter-clockwise: 0, 1, 2 or 3 each.
        prob: chance that the image is turned.

    Raises:
        ValueError: other numbers, or none.
    """

    def __init__(self, turns: Sequence[int] = (1, 2, 3), prob: float = 0.5) -> None:
        self.turns = check_turns(turns)
        self.prob = check_prob('QuarterTurn', prob)

    def transform(self, results: dict) -> dict:
        turn = self.turns[np.random.randint(len(self.turns))]
        if np.random.rand() < self.prob:
            results['img'] = np.ascontiguousarray(np.rot90(results['img'], turn))
            results['img_shape'] = results['img'].shape[:2]
        return results
