"""The target is a moving average of the online network."""

from __future__ import annotations

import copy
import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch
from mmengine.dist import get_world_size
from mmengine.logging import MessageHub, print_log
from mmengine.model import ModuleDict
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm, _NormBase

from viewplug.argument_kinds import check_least
from viewplug.encoding import Embeddings, Group, encode, encode_views, parametrized_once
from viewplug.ops.shuffle import shuffle, unshuffle
from viewplug.registry import MODELS
from viewplug.running_stats import average_running_stats
from viewplug.targets.shared import SharedTarget


@MODELS.register_module()
class MomentumTarget(SharedTarget):
    """An exponential moving average of the online backbone and necks (MoCo, BYOL, DINO).

    ``target = m * target + (1 - m) * online`` for every parameter, before each training forward, with the m of the
    step before: of the one that took online to where it is. It starts equal to online, after weight initialisation and
    after any load that lacks it.

    Whatever drops at random (dropout, drop path) does so in the online network only: modules of the target other than
    norm layers are in evaluation mode.

    Batch norm: by default the target normalises with the statistics of its own batch, as the authors' MoCo does.
    A key then tells which batch it comes from, and the network can find it by that instead of by content. Shuffling
    (several processes) or EMAN (any number) cure it; on one process with neither, a warning says so.

    Args:
        momentum: m, in [0, 1].
        end_momentum: where m ends, rising along a half cosine over the run (BYOL, DINO: 1.0); None keeps it constant.
            A resumed run goes on; one that only starts from a checkpoint (``load_from``) begins at ``momentum``.
        total_steps: length of that schedule; None asks the Runner.
        shuffle_bn: spread the images of the global batch over the processes at random before encoding, so that batch
            statistics tell nothing about which key belongs to which query (MoCo, sec. 3.3). Each process sends and
            receives its images once; without several processes there is nothing to shuffle.
        eman: normalise with a moving average of the online running statistics instead, momentum m as for the
            parameters (EMAN, arXiv:2101.08482, sec. 3.2): the target runs in evaluation mode, no key knows its batch.
            Several processes average the online ones first.
        update_interval: forwards between two updates; set it to the optimiser's accumulative_counts.
        joint_views: encode neighbouring target views of one size in one forward. With eman the embeddings are the
            same; without, batch norm takes its statistics over these views together in place of each view's own.

    Raises:
        ValueError: a momentum outside [0, 1], one that falls, or a number of steps below 1; at the first step,
            parameters that are sharded over processes.
    """

    def __init__(
        self,
        momentum: float = 0.999,
        end_momentum: float | None = None,
        total_steps: int | None = None,
        shuffle_bn: bool = False,
        eman: bool = False,
        update_interval: int = 1,
        joint_views: bool = False,
    ) -> None:
        super().__init__()
        for name, value in (('momentum', momentum), ('end_momentum', end_momentum)):
            if value is not None and not 0 <= value <= 1:
                raise ValueError(f'MomentumTarget: {name} must lie in [0, 1], got {value}')
        if end_momentum is not None and end_momentum < momentum:
            raise ValueError(
                f'MomentumTarget: end_momentum={end_momentum} lies below momentum={momentum}, and the momentum rises '
                'over a run; set end_momentum=1.0, as BYOL and DINO, or None'
            )
        check_least('MomentumTarget', 1, total_steps=total_steps, update_interval=update_interval)
        self.momentum, self.end_momentum, self.total_steps = momentum, end_momentum, total_steps
        if shuffle_bn and eman:
            raise ValueError('MomentumTarget: with eman=True there is nothing to shuffle; set shuffle_bn=False')
        self.shuffle_bn, self.eman = shuffle_bn, eman
        self.update_interval = update_interval
        self.joint_views = joint_views
        self._warned = False
        self.register_buffer('steps', torch.zeros((), dtype=torch.long))
        self._step = 0  # the same on the host: reading the buffer would wait for the GPU at every step
        self._loaded = False

    def attach(self, model: nn.Module) -> None:
        apart = [name for name, read in model.reads.items() if read.entry == 'query' or read.masked]
        if self.shuffle_bn and apart:
            raise ValueError(
                f'model.target.shuffle_bn=True spreads images over processes, but model.branches.{apart[0]} reads '
                'queries or masked patches, which would stay behind; a ViT has no batch norm: set shuffle_bn=False'
            )
        self.backbone = copy.deepcopy(model.backbone)
        self.necks = ModuleDict({name: copy.deepcopy(neck) for name, neck in model.necks.items()})
        self.requires_grad_(False)
        self.train(self.training)

    def init_weights(self) -> None:
        """Nothing of its own to initialise: ``viewplug.Siamese`` copies the online weights afterwards."""

    @torch.no_grad()
    def reset(self, model: nn.Module) -> None:
        for mine, theirs in self._pairs_of_modules(model):
            mine.load_state_dict(theirs.state_dict())

    @torch.compiler.disable  # which would compile the whole step again for each count of steps
    @torch.no_grad()
    def update(self, model: nn.Module) -> None:
        if self._loaded:
            self._loaded = False
            self._begin_with_the_run()
        step, self._step = self._step, self._step + 1
        self.steps += 1
        if step % self.update_interval:
            return
        if self.eman:
            # A process has followed its own batches since; the keys of an image must not depend on the process.
            average_running_stats(*(online for _, online in self._pairs_of_modules(model)))
        mine, theirs = [], []
        for target, online in self._pairs_of_modules(model):
            mine += [p.data for p in target.parameters()]
            theirs += [p.data for p in online.parameters()]
            _check_whole(target)
            if self.eman:
                mine += [b for b in target.buffers() if b.is_floating_point()]
                theirs += [b for b in online.buffers() if b.is_floating_point()]
        # Step k of the optimiser comes before update k in the papers; here update k waits for the next forward.
        torch._foreach_lerp_(mine, theirs, 1 - self.momentum_at(max(step - self.update_interval, 0)))

    def _load_from_state_dict(self, *args, **kwargs) -> None:
        super()._load_from_state_dict(*args, **kwargs)
        self._step, self._loaded = int(self.steps), True

    def _begin_with_the_run(self) -> None:
        """Weights of another run (``load_from``) bring its count along; a run at its first iteration counts from 0."""
        hub = MessageHub.get_current_instance()
        if not self._step or hub.get_info('loop_stage') != 'train' or hub.get_info('iter') != 0:
            return
        if self.end_momentum is not None:
            print_log(
                f'MomentumTarget: the checkpoint brings {self._step} steps of another run along. This one begins: so '
                f'does its momentum, at {self.momentum}.',
                'current',
            )
        self._step = 0
        self.steps.zero_()

    def train(self, mode: bool = True) -> MomentumTarget:
        super().train(mode and not self.eman)
        for part in (self.backbone, self.necks):
            for module in part.modules():
                # _NormBase: batch and instance norm, SyncBN too; the rest that asks for the mode drops something.
                module.training = module.training and isinstance(module, _NormBase)
        return self

    def momentum_at(self, step: int) -> float:
        """m of the update that follows step ``step`` of the run, counted from 0 (BYOL, arXiv:2006.07733, sec. 3.2).

        mmpretrain's CosineEMA takes that of the step to come.
        """
        if self.end_momentum is None:
            return self.momentum
        total = self.total_steps or MessageHub.get_current_instance().get_info('max_iters')
        if not total:
            raise ValueError('MomentumTarget: end_momentum without a Runner needs total_steps, got None')
        remaining = (math.cos(math.pi * min(step / total, 1)) + 1) / 2
        return self.end_momentum - (self.end_momentum - self.momentum) * remaining

    @torch.no_grad()
    def embeddings(
        self,
        model: nn.Module,
        inputs: Sequence[Tensor],
        views: Sequence[int],
        online: Embeddings,
        extras: Mapping[str, object] | None = None,
    ) -> Embeddings:
        mixes = self.shuffle_bn and self.training
        if mixes and get_world_size() == 1:
            mixes = False
            self._warn_of_one_process()
        requests = model.requests('target', extras or {}, views)

        def whole(groups: Sequence[Group]) -> list[list[dict[str, Tensor]]]:
            return encode(self.backbone, self.necks, model.reads, groups)

        def shuffled(groups: Sequence[Group]) -> list[list[dict[str, Tensor]]]:
            found = []
            for images, asked in groups:
                images, order = shuffle(images)
                one = {0: replace(asked, views=1)}
                mixed = encode_views(whole, model.reads, [images], one, False, model.grad_cache, self)[0]
                rows = {name: unshuffle(embedding, order).chunk(asked.views) for name, embedding in mixed.items()}
                found.append([{name: z[view] for name, z in rows.items()} for view in range(asked.views)])
            return found

        with parametrized_once(self.necks):
            if mixes:
                return encode_views(shuffled, model.reads, inputs, requests, self.joint_views)
            return encode_views(whole, model.reads, inputs, requests, self.joint_views, model.grad_cache, self)

    def _warn_of_one_process(self) -> None:
        if self._warned or not any(isinstance(module, _BatchNorm) for module in self.modules()):
            return
        self._warned = True
        print_log(
            'MomentumTarget: shuffle_bn=True, but one process has nobody to shuffle with. Its keys share batch '
            'statistics with their queries, and a queue can then be won by recognising the batch. On one GPU set '
            'model.target.shuffle_bn=False and model.target.eman=True.',
            'current',
            level=logging.WARNING,
        )

    def _pairs_of_modules(self, model: nn.Module):
        yield self.backbone, model.backbone
        for name, neck in self.necks.items():
            yield neck, model.necks[name]


def _check_whole(network: nn.Module) -> None:
    """
    Raises:
        ValueError: parameters lie in shards, which a step of the average would miss. FullyShardedDataParallel puts
            plain tensors in their place while it runs a module and marks them elsewhere; ZeRO 3 marks them all.
    """
    for parameter in network.parameters():
        in_shards = getattr(parameter, '_fsdp_flattened', False) or hasattr(parameter, 'ds_status')
        if in_shards or not isinstance(parameter, nn.Parameter):
            raise ValueError(
                'MomentumTarget: the parameters are sharded over processes (FullyShardedDataParallel, ZeRO 3), and its '
                'average would not move; use MMDistributedDataParallel (with FlexibleRunner DDPStrategy), or a target '
                'without weights of its own, viewplug.StopGradTarget or viewplug.SharedTarget'
            )
