"""Whether a neck normalises what it hands to a head that takes it as it comes."""

from __future__ import annotations

import logging

import torch
from mmengine.logging import print_log
from torch import Tensor

from viewplug.ops import at_least_float32

TOLERANCE = 0.01
"""Of a length. Numbers rounded to bf16 are off by up to 0.4 %."""
MAX_PARTS = 4
"""An embedding of up to so many parts of length 1 each passes; HCL's has two and length sqrt(2)."""


class UnitLengthCheck:
    """Looks at the lengths of embeddings once, and warns if they are not normalised.

    Once only: the host waits for a GPU to read them.

    Args:
        head: name of the head, for the warning.

    Attributes:
        branch: name of the head's branch, likewise; ``viewplug.Siamese`` sets it.
    """

    def __init__(self, head: str) -> None:
        self.head = head
        self.branch: str | None = None
        self._done = False

    def __call__(self, *embeddings: Tensor) -> None:
        """
        Args:
            embeddings: (N, D) each.
        """
        if self._done:
            return
        self._done = True
        lengths = torch.cat([at_least_float32(rows.detach()).norm(dim=1) for rows in embeddings]).cpu()
        lengths = lengths[lengths > 0]  # a dead network's embedding is 0 behind any normalisation
        if not len(lengths) or not lengths.isfinite().all() or _are_unit(lengths):
            return
        where = f'model.branches.{self.branch}.neck' if self.branch else 'neck'
        print_log(
            f'{self.head}{f" of branch {self.branch!r}" if self.branch else ""}: embeddings of length '
            f'{lengths.min():.3g} to {lengths.max():.3g}, but the head takes them as normalised (length 1), so its '
            f'similarities are no cosines and the temperature is not what it says. Set {where}.normalize=True; in '
            "place of a neck of mmpretrain's (MoCoV2Neck, NonLinearNeck), which leaves that to its head, take "
            'viewplug.MLPNeck, or end a neck of your own in torch.nn.functional.normalize.',
            'current',
            level=logging.WARNING,
        )


def _are_unit(lengths: Tensor) -> bool:
    """Whether all are 1, or all sqrt(2), and so on up to ``MAX_PARTS``."""
    expected = torch.arange(1, MAX_PARTS + 1).sqrt()
    return bool(((lengths.unsqueeze(1) / expected - 1).abs() <= TOLERANCE).all(dim=0).any())
