"""Self-distillation's comparison: the target's centred, sharpened distribution against the online one (DINO, iBOT)."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence

import torch
from mmengine.dist import all_reduce
from mmengine.logging import MessageHub, print_log
from mmengine.model import BaseModule
from torch import Tensor, nn
from torch.nn import functional as F

from viewplug.data_passes import ITERS_PER_PASS
from viewplug.losses.dino import DINOLoss, IBOTLoss, masked_weights, sharpened
from viewplug.ops import at_least_float32
from viewplug.registry import MODELS


@MODELS.register_module()
class DistillHead(BaseModule):
    """Cross-entropy with the momentum target's distribution over prototypes (DINO, arXiv:2104.14294, sec. 3.1).

    Target logits are centred by a moving average of their mean, over all processes, and sharpened by a low
    temperature; together these keep the network from collapsing to a uniform or a one-prototype output. The centre
    moves once a training forward (where gradients accumulate, several times a step of the optimiser), behind the loss,
    which used the old one. Each target view's distribution is computed once, and each online view meets the sum of
    those it is compared with.

    Args:
        loss: config or instance of ``viewplug.DINOLoss`` (default), which holds the online temperature.
        feat_dim: number of prototypes, K. Left out, ``viewplug.Siamese`` fills it in from the neck.
        teacher_temperature: of the target, behind the warm-up.
        warmup_teacher_temperature: where it starts.
        warmup_epochs: epochs that it rises for, linearly, 0 for none. The epoch is the Runner's; in an iteration-based
            loop it is the pass over the data, whose length ``viewplug.EpochSeedHook`` tells; without a Runner set
            ``head.epoch``.
        center_momentum: of the centre.

    State (in the checkpoint): ``center`` (K,) float32.

    Raises:
        ValueError: a temperature or momentum out of its range, or a warm-up and nobody to say the epoch.
    """

    loss_kind = DINOLoss

    def __init__(
        self,
        loss: dict | nn.Module | None = None,
        feat_dim: int = 65536,
        teacher_temperature: float = 0.07,
        warmup_teacher_temperature: float = 0.04,
        warmup_epochs: int = 30,
        center_momentum: float = 0.9,
        init_cfg=None,
    ) -> None:
        super().__init__(init_cfg)
        for name, value in (
            ('teacher_temperature', teacher_temperature),
            ('warmup_teacher_temperature', warmup_teacher_temperature),
        ):
            if not value > 0:
                raise ValueError(f'{type(self).__name__}: {name} must be above 0, got {value}')
        if not 0 <= center_momentum <= 1:
            raise ValueError(f'{type(self).__name__}: center_momentum must lie in [0, 1], got {center_momentum}')
        if warmup_epochs < 0:
            raise ValueError(f'{type(self).__name__}: warmup_epochs must be at least 0, got {warmup_epochs}')
        if warmup_epochs and warmup_teacher_temperature > teacher_temperature:
            raise ValueError(
                f'{type(self).__name__}: warmup_teacher_temperature={warmup_teacher_temperature} lies above '
                f'teacher_temperature={teacher_temperature}, to which it rises; lower it, or set warmup_epochs=0'
            )
        loss = self.loss_kind() if loss is None else loss
        self.loss_module = loss if isinstance(loss, nn.Module) else MODELS.build(loss)
        if not isinstance(self.loss_module, self.loss_kind):
            raise ValueError(
                f'{type(self).__name__}: loss must be viewplug.{self.loss_kind.__name__}, '
                f'got {type(self.loss_module).__name__}'
            )
        self.feat_dim = feat_dim
        self.teacher_temperature, self.warmup_teacher_temperature = teacher_temperature, warmup_teacher_temperature
        self.warmup_epochs, self.center_momentum = warmup_epochs, center_momentum
        self.register_buffer('center', torch.zeros(feat_dim))
        self.epoch: int | None = None
        self._warned = False

    def loss(
        self, online: Tensor, target: Tensor, geometry=None, pair: tuple[int, int] = (0, 1), **extras
    ) -> dict[str, Tensor]:
        """
        Args:
            online: (N, K) logits of one view.
            target: (N, K) logits of another view of the same images.

        Returns:
            See :meth:`loss_of_pairs`.
        """
        return self.loss_of_pairs({pair[0]: online}, {pair[1]: target}, [pair], geometry, **extras)

    def loss_of_pairs(
        self,
        online: Mapping[int, Tensor],
        target: Mapping[int, Tensor],
        pairs: Sequence[tuple[int, int]],
        geometry=None,
        **extras,
    ) -> dict[str, Tensor]:
        """
        Args:
            online, target: view -> (N, K) logits.
            pairs: (online view, target view) to be compared.

        Returns:
            ``loss``: the mean over pairs. ``target_entropy`` of the target's distributions, in nats: log K where it is
            uniform, 0 where it always takes one prototype for sure. ``kl``: from it to the online distributions, the
            loss less the entropy. Either collapse shows as ``kl`` near 0. ``center_norm``: length of the centre.
        """
        partners = {o: tuple(t for other, t in pairs if other == o) for o, _ in pairs}
        with torch.autocast(self.center.device.type, enabled=False):
            temperature = self.temperature_at(self._epoch())
            found = {t: sharpened(target[t], self.center, temperature) for t in dict.fromkeys(t for _, t in pairs)}
            sums = {ts: _sum([found[t][0] for t in ts]) for ts in dict.fromkeys(partners.values())}
            losses = [self._loss_of_view(online[o], sums[ts], o, len(ts), extras) for o, ts in partners.items()]
            entropies = [self._mean_entropy(found[t][1], t, extras) for _, t in pairs]
            loss = torch.stack(losses).sum() / len(pairs)
            entropy = torch.stack(entropies).mean()
            return {
                'loss': loss,
                'target_entropy': entropy,
                'kl': loss.detach() - entropy,
                'center_norm': self.center.norm(),
            }

    @torch.no_grad()
    def update(self, targets: Sequence[Tensor]) -> None:
        """Once per step: move the centre towards the mean of all target views' logits (each (N, K))."""
        sums = torch.stack([at_least_float32(rows).sum(dim=0) for rows in targets]).sum(dim=0)
        # One number more, without moving it there, for which a GPU would be waited.
        sums = F.pad(sums, (0, 1), value=sum(len(rows) for rows in targets))
        all_reduce(sums)
        number = sums[-1]
        mean = sums[:-1].to(self.center.dtype) / number.clamp_min(1)
        self.center.lerp_(torch.where(number > 0, mean, self.center), 1 - self.center_momentum)

    def temperature_at(self, epoch: int) -> float:
        """The target's temperature in an epoch, counted from 0."""
        if epoch >= self.warmup_epochs:
            return self.teacher_temperature
        progress = epoch / max(1, self.warmup_epochs - 1)
        start = self.warmup_teacher_temperature
        return start + (self.teacher_temperature - start) * progress

    def _epoch(self) -> int:
        if not self.warmup_epochs:
            return 0
        epoch = self._epoch_of_the_run() if self.epoch is None else self.epoch
        if epoch is None:
            raise ValueError(
                f'{type(self).__name__}: warmup_epochs={self.warmup_epochs} without a Runner needs head.epoch, got None'
            )
        return epoch

    def _epoch_of_the_run(self) -> int | None:
        hub = MessageHub.get_current_instance()
        if hub.get_info('max_epochs') != 1:
            return hub.get_info('epoch')
        length = hub.get_info(ITERS_PER_PASS)  # IterBasedTrainLoop also says that it has one epoch, and stays in it
        if length is None:
            if not self._warned:
                print_log(
                    f'{type(self).__name__}: warmup_epochs={self.warmup_epochs} counts epochs, and this run has one '
                    "or none (IterBasedTrainLoop): the temperature stays where it starts. dict(type='viewplug."
                    "EpochSeedHook') in custom_hooks counts passes over the data.",
                    'current',
                    logging.WARNING,
                )
            self._warned = True
            return hub.get_info('epoch')
        return hub.get_info('iter') // length

    def _loss_of_view(self, online: Tensor, target: Tensor, view: int, mass: int, extras: dict) -> Tensor:
        return self.loss_module(online, target, mass=mass)

    def _mean_entropy(self, entropies: Tensor, view: int, extras: dict) -> Tensor:
        return entropies.mean()


@MODELS.register_module()
class PatchDistillHead(DistillHead):
    """The same of masked patches, by default with ``viewplug.IBOTLoss`` (iBOT, arXiv:2111.07832, sec. 3.1).

    For a branch with ``masked=True`` and ``pairs='same'``: online logits are those of the mask tokens, target logits
    those of the same patches seen. The batch's ``masks`` (N, V, h, w) say which image a row belongs to. Its centre is
    its own and moves with the target's logits of masked patches. OUR CHOICE, since no others go through the neck; the
    authors' moves with those of all patches.
    """

    loss_kind = IBOTLoss

    def _loss_of_view(self, online: Tensor, target: Tensor, view: int, mass: int, extras: dict) -> Tensor:
        return self.loss_module(online, target, masks=extras['masks'][:, view], mass=mass)

    def _mean_entropy(self, entropies: Tensor, view: int, extras: dict) -> Tensor:
        return (entropies * masked_weights(extras['masks'][:, view], entropies)).sum()


def _sum(matrices: Sequence[Tensor]) -> Tensor:
    total = matrices[0]
    for matrix in matrices[1:]:
        total = total + matrix
    return total
