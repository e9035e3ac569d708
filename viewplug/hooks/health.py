"""Collapse and its early signs, watched while a self-supervised run trains."""

import torch
from mmengine.hooks import Hook
from torch import Tensor, nn

from viewplug.evaluation.representation import (
    alignment,
    effective_rank,
    embedding_std,
    positive_similarity,
    thin,
    uniformity,
)
from viewplug.hooks.distillation_watch import DistillationWatch
from viewplug.registry import HOOKS
from viewplug.unwrapping import unwrapped

MAX_ROWS = 1024
"""Rows of a batch that are measured; region branches and large batches have more."""


@HOOKS.register_module()
class RepresentationHealthHook(Hook):
    """Spread, rank, alignment and uniformity of the embeddings (``viewplug.evaluation.representation``), per branch.

    Reads ``model.latest`` after a training step: all online views together for ``std`` and ``effective_rank``, online
    against target views of the same images for ``similarity``, ``alignment`` and ``uniformity``. A stock mmpretrain
    model has no ``latest``; there the outputs of ``model.neck`` are caught, as branch ``neck``, for the first two only.
    On several processes each measures its own batch, and rank 0 reports.

    Of a self-distillation branch (``viewplug.DistillHead``) ``target_entropy``, ``kl`` and ``center_norm`` of every
    iteration are averaged over the epoch, and over all processes, so that these judge alike.

    Written to ``runner.visualizer`` and ``runner.message_hub`` as ``health/<branch>/std`` and so on, over iterations.
    A branch below a threshold is warned of once in a run, but not at its very beginning, where low spread is often
    just the initialisation.

    Self-distillation collapses in two ways, to a uniform output or to one prototype; either has ``kl`` near 0 (DINO,
    arXiv:2104.14294, sec. 5.3). So have views that agree well, as ADCLR's query crops do. Hence the warning asks for
    a low ``kl`` of rows that all have the same distribution: their mutual information with the prototypes is as low.

    Args:
        interval: Iterations between measurements; the last iteration of an epoch is measured too.
        warn_std: Warn below this spread (1: even on the sphere, 0: a single point). None: never.
        warn_rank: Warn below this effective rank, where batch and dimension allow four times as much. None: never.
        warn_from: Iterations before the first warning; shorter epochs warn from the end of the first on.
        warn_kl: Warn where an epoch's mean ``kl`` is below this share of log K, the most that K prototypes can tell.
            None: never. The default is 0.06 nats for 256 prototypes and 0.11 for 65,536. At the start, where prototypes
            are random directions, ``kl`` to a uniform target is about 1 / (2 d T^2) of d bottleneck channels and the
            online temperature T: 0.2 nats for DINO's.
    """

    def __init__(
        self,
        interval: int = 50,
        warn_std: float | None = 0.1,
        warn_rank: float | None = 2.0,
        warn_from: int = 200,
        warn_kl: float | None = 0.01,
    ) -> None:
        if not isinstance(interval, int) or interval < 1:
            raise ValueError(f'RepresentationHealthHook: interval must be a positive integer, got {interval!r}.')
        self.interval = interval
        self.warn_from = warn_from
        self.warn_std = warn_std
        self.warn_rank = warn_rank
        self._warned: set[str] = set()
        self._neck_outputs: list[Tensor] = []
        self._neck_handle = None
        self._measures_now = False
        self._distillation = DistillationWatch(warn_kl)

    def before_train(self, runner) -> None:
        self._distillation.clear()
        model = unwrapped(runner.model)
        if not hasattr(model, 'latest') and isinstance(getattr(model, 'neck', None), nn.Module):
            self._neck_handle = model.neck.register_forward_hook(self._catch)

    def before_train_iter(self, runner, batch_idx: int, data_batch=None) -> None:
        ends_epoch = self.end_of_epoch(runner.train_dataloader, batch_idx)
        self._measures_now = self.every_n_train_iters(runner, self.interval) or ends_epoch
        self._neck_outputs.clear()

    def after_train_iter(self, runner, batch_idx: int, data_batch=None, outputs=None) -> None:
        self._distillation.add(outputs or {})
        # An iteration-based loop counts on, through all passes over the data.
        if (batch_idx + 1) % len(runner.train_dataloader) == 0 or self.is_last_train_iter(runner):
            for name, values in self._distillation.means().items():
                _write(runner, name, values)
                if f'{name}.kl' not in self._warned:
                    found = self._distillation.judge(unwrapped(runner.model), name, values)
                    if found:
                        self._warn_once(runner, f'{name}.kl', found)
        if not self._measures_now:
            return
        latest = getattr(unwrapped(runner.model), 'latest', None) or self._latest_of_neck()
        if not latest:
            self._warn_once(
                runner, 'nothing', 'finds neither model.latest nor outputs of model.neck; it measures nothing.'
            )
        for name, branch in latest.items():
            values = measure(branch)
            _write(runner, name, values)
            if runner.iter + 1 >= min(self.warn_from, len(runner.train_dataloader)):
                self._judge(runner, name, branch, values)
        self._neck_outputs.clear()

    def after_train(self, runner) -> None:
        if self._neck_handle is not None:
            self._neck_handle.remove()
            self._neck_handle = None

    def _judge(self, runner, name: str, branch: dict, values: dict[str, float]) -> None:
        if not values:
            return
        std, rank = values['std'], values['effective_rank']
        rows = torch.cat([_rows(view) for view in branch['online'].values()])
        if rank != rank:
            self._warn_once(
                runner, name, f'branch {name!r} has embeddings that are not finite (nan or inf): training broke.'
            )
        elif self.warn_std is not None and std < self.warn_std:
            self._warn_once(
                runner,
                name,
                f'branch {name!r} is collapsing: embedding std {std:.3f} is below warn_std={self.warn_std} (1 = spread '
                'evenly, 0 = every image gets the same vector). Such a representation cannot tell images apart, '
                'however low the loss. Try a lower learning rate or a warm-up, a stop-gradient or momentum target, '
                'BatchNorm in the projector, a queue that starts empty (QueueHead), a predictor, centring and a '
                'sharper target (DINO), or more negatives.',
            )
        elif self.warn_rank is not None and rank < self.warn_rank and min(rows.shape) >= 4 * self.warn_rank:
            self._warn_once(
                runner,
                name,
                f'branch {name!r} is collapsing: effective rank {rank:.2f} is below warn_rank={self.warn_rank} '
                f'(at most {min(rows.shape)} here), so all embeddings lie along one or two directions. Try a lower '
                'learning rate, BatchNorm in the projector, stronger augmentation, or a higher temperature.',
            )

    def _warn_once(self, runner, about: str, sentence: str) -> None:
        if about not in self._warned:
            self._warned.add(about)
            runner.logger.warning(f'RepresentationHealthHook: {sentence} (iteration {runner.iter + 1})')

    def _catch(self, neck: nn.Module, inputs, output) -> None:
        if self._measures_now and neck.training:
            output = output[-1] if isinstance(output, tuple | list) else output
            if isinstance(output, Tensor):
                self._neck_outputs.append(output.detach())

    def _latest_of_neck(self) -> dict[str, dict]:
        if not self._neck_outputs:
            return {}
        return {'neck': dict(online=dict(enumerate(self._neck_outputs)), target={})}


def _write(runner, name: str, values: dict[str, float]) -> None:
    scalars = {f'health/{name}/{key}': value for key, value in values.items()}
    for key, value in scalars.items():
        runner.message_hub.update_scalar(key, value)
    if scalars:
        runner.visualizer.add_scalars(scalars, step=runner.iter + 1)


@torch.no_grad()
def measure(branch: dict[str, dict[int, Tensor]]) -> dict[str, float]:
    """``std``, ``effective_rank`` and, where it has pairs of an online and another target view, ``similarity``,
    ``alignment`` and ``uniformity`` of a branch of ``model.latest``. Fewer than two rows give nothing, rows that are
    not finite give nan.
    """
    embeddings = thin(torch.cat([_rows(view) for view in branch['online'].values()]), MAX_ROWS)
    if len(embeddings) < 2:
        return {}
    pairs = [
        (thin(online, MAX_ROWS), thin(target, MAX_ROWS))
        for o, online in branch['online'].items()
        for t, target in branch['target'].items()
        if o != t and online.ndim == 2 and online.shape == target.shape
    ]
    finite = all(tensor.isfinite().all() for tensor in (embeddings, *(target for _, target in pairs)))
    values = dict(std=embedding_std(embeddings))
    values['effective_rank'] = effective_rank(embeddings) if finite else values['std'].new_tensor(float('nan'))
    if pairs:
        values['similarity'] = torch.stack([positive_similarity(*pair) for pair in pairs]).mean()
        values['alignment'] = torch.stack([alignment(*pair) for pair in pairs]).mean()
        # Both sides, as in the paper's loss: (uniformity(x) + uniformity(y)) / 2.
        values['uniformity'] = torch.stack([uniformity(side) for pair in pairs for side in pair]).mean()
    return {key: float(value) for key, value in values.items()}


def _rows(embeddings: Tensor) -> Tensor:
    """(N, D), with the positions of maps (N, D, H, W) and tokens (N, L, D) as rows."""
    if embeddings.ndim == 4:
        embeddings = embeddings.permute(0, 2, 3, 1)
    return embeddings.flatten(0, -2).float()
