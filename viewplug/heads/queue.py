"""MoCo's comparison: each query against its key and a queue of keys from earlier batches."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from mmengine.model import BaseModule
from torch import Tensor, nn

from viewplug.argument_kinds import check_least
from viewplug.heads.unit_length import UnitLengthCheck
from viewplug.losses import InfoNCELoss
from viewplug.losses.info_nce_of_rows import weighted_info_nce
from viewplug.ops import at_least_float32, gather_rows
from viewplug.registry import MODELS


@MODELS.register_module()
class QueueHead(BaseModule):
    """Contrast with a first-in-first-out queue of past keys (MoCo, arXiv:1911.05722, sec. 3.2 and algorithm 1).

    The keys of a step are kept aside by :meth:`update` and enter the queue when the next step begins; a saved state has
    them in it already. So the logits need no copy of the queue, and backward still sees the queue that forward saw. The
    ring wraps round, so any batch size and any number of processes fit any queue.

    Args:
        loss: config or instance of a loss on (positive, negatives) similarities. Of ``viewplug.InfoNCELoss`` the
            temperature is taken, and the (N, K) similarities are never all there
            (:func:`viewplug.losses.info_nce_of_rows.weighted_info_nce`); a loss of another class, a subclass too, and
            one that has forward hooks is handed them.
        queue_len: number of keys kept, K.
        feat_dim: length of an embedding, D; 324 for HCL (128 + 196).
        start: what the queue holds at first. ``'random'``: K random unit vectors, as the authors' code. Until they
            are replaced any direction is far from them, so the first steps pay the network for giving every image
            the same embedding; with a projector without norm layers and a large learning rate it never recovers.
            ``'empty'``: nothing, and only keys of images are ever negatives; the loss begins at 0 and rises towards
            log(K + 1) while the queue fills.

    State (in the checkpoint): ``queue`` (K, D) float32, rows not filled yet are 0; ``pointer`` () int64, the next row
    to be replaced. A checkpoint's pointer counts together with a queue of the same shape only; without one the queue
    stays as it is, in a new run new.

    The head normalises nothing. Where the neck does not either, a warning says so at the first training step.

    Raises:
        ValueError: ``queue_len`` or ``feat_dim`` below 1, an unknown ``start``, or embeddings of another length.
    """

    def __init__(
        self,
        loss: dict | nn.Module,
        queue_len: int = 65536,
        feat_dim: int = 128,
        start: Literal['random', 'empty'] = 'random',
        init_cfg=None,
    ) -> None:
        super().__init__(init_cfg)
        check_least('QueueHead', 1, queue_len=queue_len, feat_dim=feat_dim)
        self.loss_module = loss if isinstance(loss, nn.Module) else MODELS.build(loss)
        self.feat_dim = feat_dim
        rows = torch.randn(queue_len, feat_dim) if start == 'random' else torch.zeros(queue_len, feat_dim)
        self.register_buffer('queue', nn.functional.normalize(rows, dim=1, out=rows))
        self.register_buffer('pointer', torch.zeros((), dtype=torch.long))
        self._filled = queue_len if start == 'random' else 0
        self._waiting: Tensor | None = None
        self.lengths = UnitLengthCheck('QueueHead')

    def loss(self, online: Tensor, target: Tensor, geometry=None, **extras) -> dict[str, Tensor]:
        """
        Args:
            online: (N, D) queries, normalised by the neck.
            target: (N, D) keys of the same images, normalised by the neck.

        Returns:
            ``{'loss': scalar}``.
        """
        self._check(online)
        if self.training:
            self.lengths(online, target)
        self.flush()
        with torch.autocast(online.device.type, enabled=False):
            online, target = at_least_float32(online), at_least_float32(target)
            queue = self._keys().to(online.dtype)
            if _is_plain(self.loss_module):
                weights = online.new_full((len(online),), 1 / max(1, len(online)))
                return {'loss': weighted_info_nce(online, target, queue, weights, self.loss_module.temperature)}
            return {'loss': self.loss_module((online * target).sum(dim=1), online @ queue.t())}

    def update(self, targets: Sequence[Tensor]) -> None:
        """Once per step: take the keys of all target views (each (N, D)), gathered over processes, for the queue."""
        self.flush()
        self._waiting = gather_rows(at_least_float32(torch.cat(list(targets))))

    @torch.compiler.disable  # which would compile the loss again for each number of keys
    def _keys(self) -> Tensor:
        return self.queue[: self._filled]

    @torch.compiler.disable  # likewise
    @torch.no_grad()
    def flush(self) -> None:
        """Move the waiting keys into the queue. Called by whoever reads the queue; calling it twice does nothing."""
        if self._waiting is None:
            return
        self._enqueue(self.queue, self.pointer)
        self._filled = min(self._filled + len(self._waiting), len(self.queue))
        self._waiting = None

    def _enqueue(self, queue: Tensor, pointer: Tensor) -> None:
        """Write the waiting keys into ``queue``, in place, from row ``pointer`` on."""
        keys = self._waiting[-len(queue) :]
        rows = (pointer + torch.arange(len(keys), device=queue.device)) % len(queue)
        queue.index_copy_(0, rows, keys.to(queue.device))
        pointer.add_(len(keys)).remainder_(len(queue))

    @torch.no_grad()
    def _save_to_state_dict(self, destination, prefix, keep_vars) -> None:
        super()._save_to_state_dict(destination, prefix, keep_vars)
        if self._waiting is not None:
            # Into copies: rank 0 alone saves, and DDP's broadcast_buffers gives its queue to ranks whose keys wait.
            names = [f'{prefix}queue', f'{prefix}pointer']
            destination.update({name: destination[name].clone() for name in names})
            self._enqueue(*(destination[name] for name in names))

    def _load_from_state_dict(self, state_dict, prefix, *args, **kwargs) -> None:
        self._waiting = None
        given = state_dict.get(f'{prefix}queue')
        if given is None or given.shape != self.queue.shape:  # the pointer says how far another queue was filled
            state_dict = {key: value for key, value in state_dict.items() if key != f'{prefix}pointer'}
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)
        pointer = int(self.pointer)
        self._filled = len(self.queue) if self.queue[pointer:].any() else pointer

    def _check(self, online: Tensor) -> None:
        if online.shape[1] != self.feat_dim:
            raise ValueError(
                f'QueueHead: feat_dim={self.feat_dim}, but the neck gives embeddings of length {online.shape[1]}; '
                f"set the head's feat_dim={online.shape[1]}"
            )


def _is_plain(loss: nn.Module) -> bool:
    """Whether what the loss does is known without calling it: InfoNCELoss itself, and nobody listens."""
    return type(loss) is InfoNCELoss and not (loss._forward_hooks or loss._forward_pre_hooks)
