"""Self-distillation's own signs of collapse: what its heads return, over an epoch, and whether all rows look alike."""

from __future__ import annotations

import copy
import math

import torch
from mmengine.dist import all_reduce
from torch import Tensor, nn

from viewplug.evaluation.representation import thin
from viewplug.heads.distill import DistillHead

MAX_DISTRIBUTIONS = 256
"""Rows whose distributions over prototypes are compared; one of 65,536 prototypes has 0.25 MiB."""
DISTILLATION = ('target_entropy', 'kl', 'center_norm')
"""What ``viewplug.DistillHead`` returns beside its loss."""


class DistillationWatch:
    """Means of DISTILLATION over iterations and processes, per branch, and a judgement of them.

    Args:
        warn_kl: see ``viewplug.RepresentationHealthHook``.
    """

    def __init__(self, warn_kl: float | None) -> None:
        self.warn_kl = warn_kl
        self._sums: dict[str, Tensor] = {}  # branch -> of DISTILLATION and of the iterations so far

    def clear(self) -> None:
        self._sums.clear()

    def add(self, outputs: dict) -> None:
        """What a training step returned."""
        for name in [key.removesuffix('.kl') for key in outputs if key.endswith('.kl')]:
            values = [outputs.get(f'{name}.{key}') for key in DISTILLATION]
            if all(isinstance(value, Tensor) for value in values):
                now = torch.stack([value.detach().float() for value in [*values, torch.ones_like(values[0])]])
                self._sums[name] = self._sums.get(name, 0) + now

    def means(self) -> dict[str, dict[str, float]]:
        """Branch -> its means since the last call, the same on all processes."""
        found = {}
        for name, sums in self._sums.items():
            all_reduce(sums)
            found[name] = dict(zip(DISTILLATION, (sums[:-1] / sums[-1]).tolist(), strict=True))
        self.clear()
        return found

    def judge(self, model: nn.Module, name: str, values: dict[str, float]) -> str | None:
        """What is wrong with a branch of ``viewplug.Siamese``, as a sentence; None where nothing is."""
        branches = getattr(model, 'branches', {})
        if self.warn_kl is None or name not in branches or not isinstance(branches[name].head, DistillHead):
            return None
        most = math.log(branches[name].head.feat_dim)
        if not values['kl'] < self.warn_kl * most:
            return None
        entropy, information = entropy_and_information(_distributions(model, name))
        if not information < self.warn_kl * most:
            return None
        if entropy > most / 2:
            kind, meaning = 'the uniform distribution', 'every image takes all prototypes alike'
            advice = 'a lower teacher_temperature, a center_momentum nearer to 1 or a lower learning rate'
        else:
            kind, meaning = 'one prototype', 'every image takes the same one or few'
            advice = 'a higher teacher_temperature, a lower center_momentum or a lower learning rate'
        return (
            f'branch {name!r} has collapsed to {kind}: {meaning}, and nothing is left to learn. Over the epoch kl '
            f'{max(0.0, values["kl"]):.4f} is below warn_kl={self.warn_kl} of log K = {most:.2f}, target_entropy is '
            f'{values["target_entropy"]:.4f}, center_norm {values["center_norm"]:.3f}. Try {advice}.'
        )


def entropy_and_information(distributions: Tensor) -> tuple[float, float]:
    """Mean entropy of the rows (N, K), and their mutual information with the columns, which is 0 where all rows are the
    same; in nats. Fewer than two rows give nan.
    """
    if len(distributions) < 2:
        return float('nan'), float('nan')
    entropy = torch.special.entr(distributions).sum(dim=1).mean()
    information = torch.special.entr(distributions.mean(dim=0)).sum() - entropy
    return float(entropy), float(information)


@torch.no_grad()
def _distributions(model: nn.Module, name: str) -> Tensor:
    """What the online network makes of the latest batch in a branch, (N, K)."""
    views = model.latest[name]['online'].values()
    rows = thin(torch.cat([view.flatten(0, -2).float() for view in views]), MAX_DISTRIBUTIONS)
    neck = model.necks[model.reads[name].neck]
    if hasattr(neck, 'watched'):  # the latest rows are what it read; a copy keeps its batch norm as it is
        rows = copy.deepcopy(neck).eval()(rows)[0]
    return (rows.float() / model.branches[name].head.loss_module.temperature).softmax(dim=1)
