"""The one framework: views, a network that reads them, a target, and branches that compare the two."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from contextlib import nullcontext

import torch
from mmengine.model import BaseModel, ModuleDict
from torch import Tensor, nn

from viewplug.config.model_config import is_pretrained
from viewplug.encoding import (
    WATCHED,
    Embeddings,
    Group,
    encode,
    encode_views,
    parametrized_once,
)
from viewplug.frameworks.branch import build_branch, built, pairs_of, reads_of
from viewplug.frameworks.branch_checks import check_name, check_same_keys, check_views_used, checked_losses
from viewplug.heads.unit_length import UnitLengthCheck
from viewplug.ops.channels_first import channels_first
from viewplug.registry import MODELS
from viewplug.requests import Request, requests_of
from viewplug.views import ViewGeometry, sample_idx_of


@MODELS.register_module()
class Siamese(BaseModel):
    """Siamese self-supervised learning; MoCo, SimCLR, BYOL, SimSiam, DINO and their composites are configs of it.

    Args:
        backbone: config of any OpenMMLab (or timm) backbone; maps that are (N, h, w, D) in timm (Swin) come as
            (N, D, h, w).
        branches: name -> dict(neck, head, weight=1.0, pairs='cross', and the keys below). All read one forward.
        target: config of the target: SharedTarget, StopGradTarget or MomentumTarget.
        online_views, target_views: which views each side sees. The default is asymmetric MoCo (online 0, target 1);
            ``(0, 1), (0, 1)`` is symmetric; multi-crop shows all views to online and the global ones to the target.
        joint_views: encode neighbouring online views of one size in one forward. Batch norm then takes its statistics
            over these views together, as SimCLR's does; apart (MoCo, BYOL, SimSiam) each view has its own.
        grad_cache: encode this many images at a time (all their views), keep no activations, and compute them again in
            backward: a batch that memory would not hold, with its exact gradient (``viewplug.ops.gradient_cache``).
            Batch norm's statistics are then those of the images encoded together. None encodes the whole batch at once.
        data_preprocessor: default ``viewplug.ViewsDataPreprocessor``.

    A branch may also say:

    - ``neck='other_branch'``: go through that branch's neck, of which there is one copy on each side.
    - ``reads``: which entry of a mapping (``viewplug.QueryViT`` returns ``cls``, ``patch`` and ``query``); default cls.
      Tokens (N, L, D) go through the neck as N L rows.
    - ``masked=True``: read the masked patches only, on both sides (iBOT; with ``pairs='same'``).
    - ``online_views``, ``target_views``: a part of the model's, e.g. the global views for patches and queries.

    ``queries`` (N, Q, 3, p, p) and ``masks`` (N, V, h, w) bool of a batch go to a backbone whose forward has arguments
    of these names: queries on both sides, to the views whose ``query`` is read; masks of the first V views online only.

    A branch compares every pair of an online view o and a target view t that its ``pairs`` admits ('cross': o != t,
    'same': o == t, 'all'); its loss is the mean over the pairs times its weight. ``in_channels`` and ``in_strides``
    that a neck of ours leaves out are read off the backbone, a head's ``feat_dim`` off the neck. A head that has
    ``loss_of_pairs(online: {view: rows}, target: {view: rows}, pairs, ...)`` gets all pairs at once.

    Attributes:
        backbone: the online backbone; its checkpoint prefix ``backbone.`` is an API.
        latest: branch -> dict(online={view: (N, D)}, target={view: (N, D)}), detached, of the last training forward. Of
            a neck that gives logits over prototypes (DINONeck) it is what the neck read: they are long.
        necks: branch -> its neck, for each branch that has one of its own.
        takes: names of the arguments of the backbone's forward.
        reads: branch -> :class:`viewplug.requests.Reads`.

    Raises:
        ValueError: unknown branch keys or pairs, a branch name that cannot be one, a ``feat_dim`` that is not the
            neck's, views that the batch lacks or that no branch uses, a ``grad_cache`` below 1.
    """

    def __init__(
        self,
        backbone: dict | nn.Module,
        branches: dict[str, dict],
        target: dict | nn.Module,
        online_views: Sequence[int] = (0,),
        target_views: Sequence[int] = (1,),
        joint_views: bool = False,
        grad_cache: int | None = None,
        data_preprocessor: dict | nn.Module | None = None,
        init_cfg=None,
    ) -> None:
        data_preprocessor = data_preprocessor or {}
        if isinstance(data_preprocessor, dict):
            data_preprocessor = {'type': 'viewplug.ViewsDataPreprocessor', **data_preprocessor}
        if grad_cache is not None and grad_cache < 1:
            raise ValueError(f'model.grad_cache is a number of images to encode at a time, or None, got {grad_cache}')
        super().__init__(data_preprocessor=data_preprocessor, init_cfg=init_cfg)
        self.grad_cache = grad_cache
        self.backbone = channels_first(built(backbone))
        self.takes = set(inspect.signature(self.backbone.forward).parameters)
        self.online_views, self.target_views = tuple(online_views), tuple(target_views)
        for key in ('online_views', 'target_views'):
            views = getattr(self, key)
            if not views or min(views) < 0 or len(set(views)) < len(views):
                raise ValueError(f'model.{key} must be numbers of views from 0 on, each once, got {views}')
        self.joint_views = joint_views
        self.branches = ModuleDict()
        for name in branches:
            check_name(name, self.branches)
        self.reads = {name: reads_of(name, branches, self) for name in branches}
        # Borrowers of a neck come after its owner, so that they know how long its embedding is.
        for name, cfg in sorted(branches.items(), key=lambda item: isinstance(item[1].get('neck'), str)):
            self.branches[name] = build_branch(name, cfg, self)
            if isinstance(getattr(self.branches[name].head, 'lengths', None), UnitLengthCheck):
                self.branches[name].head.lengths.branch = name
        if not any(branch.weight for branch in self.branches.values()):
            raise ValueError('model.branches: every weight is 0, so that there is nothing to learn from')
        self.pairs = {name: pairs_of(name, branch, self) for name, branch in self.branches.items()}
        self.target = built(target)
        check_views_used(self)
        self.target.attach(self)
        self.register_load_state_dict_post_hook(_reset_missing_target)
        self.latest: dict[str, dict] = {}

    def init_weights(self) -> None:
        super().init_weights()
        if not self._initialised_from_checkpoint():  # which brings the target's weights, or copies the online ones
            self.target.reset(self)

    def _initialised_from_checkpoint(self) -> bool:
        configs = self.init_cfg if isinstance(self.init_cfg, list) else [self.init_cfg or {}]
        return any(is_pretrained(cfg) and not cfg.get('prefix') for cfg in configs)

    @property
    def necks(self) -> dict[str, nn.Module]:
        return {name: branch.neck for name, branch in self.branches.items() if hasattr(branch, 'neck')}

    def encode(self, images: Tensor) -> dict[str, Tensor]:
        """Online embeddings of one view: (N, 3, H, W) -> branch -> (N, D), of branches that need images only."""
        plain = (name for name, read in self.reads.items() if read.entry != 'query' and not read.masked)
        return self.encode_groups([(images, Request(tuple(plain)))])[0][0]

    def encode_groups(self, groups: Sequence[Group]) -> list[list[dict[str, Tensor]]]:
        """Online embeddings of each view of each group of images, as its request says."""
        return encode(self.backbone, self.necks, self.reads, groups)

    def requests(self, side: str, extras: dict, views: Sequence[int] | None = None) -> dict[int, Request]:
        """What ``side`` ('online' or 'target') asks of each of its views, or of ``views``."""
        views = getattr(self, f'{side}_views') if views is None else views
        return requests_of(self.reads, side, self.takes, views, extras)

    def encode_views(self, inputs: Sequence[Tensor], requests: Mapping[int, Request]) -> Embeddings:
        """Online embeddings of the views that ``requests`` names: view -> branch -> (rows, D)."""
        joint, rows = self.joint_views, self.grad_cache
        return encode_views(self.encode_groups, self.reads, inputs, requests, joint, rows, self)

    def forward(self, inputs, data_samples=None, mode: str = 'tensor', **extras):
        """``mode='tensor'``: the backbone's features of ``inputs``; ``mode='loss'``: see :meth:`loss`."""
        if mode == 'loss':
            return self.loss(inputs, data_samples, **extras)
        if mode == 'tensor':
            return self.backbone(inputs)
        raise ValueError(f"Siamese: mode must be 'loss' or 'tensor', got {mode!r}")

    def loss(
        self, inputs: Sequence[Tensor], data_samples=None, geometry: ViewGeometry | None = None, **extras
    ) -> dict[str, Tensor]:
        """In evaluation mode neither the target nor the heads' state (queue) moves.

        Args:
            inputs: V views, each (N, 3, H_v, W_v).
            data_samples: N samples whose metainfo may hold ``crop_box`` and ``flip`` of the views.
            geometry: of the views, where it comes ready made (``viewplug.BatchViews``) and not in ``data_samples``.
            extras: what only one method needs (``queries``, ``masks``, ...), handed on to heads and backbone. Heads
                also get ``sample_idx`` (N,), on the CPU, where it is known.

        Returns:
            ``{branch}.{key}`` -> tensor, for each key that the branch's head returns, ``loss`` among them.
        """
        self._check_views(inputs)
        if geometry is None:
            geometry = ViewGeometry.from_samples(data_samples, inputs[0].device)
        sample_idx = sample_idx_of(dict(data_samples=data_samples, **extras))
        if sample_idx is not None:
            extras['sample_idx'] = sample_idx
        if self.training:
            self.target.update(self)
        requests = self.requests('online', extras)
        # Gradient caching computes weights anew in backward, part by part.
        with parametrized_once(self.necks) if self.grad_cache is None else nullcontext():
            online = self.encode_views(inputs, requests)
        target = self.target.embeddings(self, inputs, self.target_views, online, extras)
        losses = {}
        for name, branch in self.branches.items():
            mine, theirs = ({view: z[name] for view, z in side.items() if name in z} for side in (online, target))
            for key, value in self._compare(name, mine, theirs, geometry=geometry, **extras).items():
                losses[f'{name}.{key}'] = value * branch.weight if 'loss' in key else value
            if self.training and hasattr(branch.head, 'update'):
                branch.head.update([theirs[view] for view in self.target_views if view in theirs])
            self.latest[name] = dict(online=_watched(name, online), target=_watched(name, target))
        return losses

    def _compare(self, name: str, online: dict[int, Tensor], target: dict[int, Tensor], **extras) -> dict[str, Tensor]:
        """The mean over a branch's pairs of what its head returns."""
        branch, pairs = self.branches[name], self.pairs[name]
        head = branch.head
        if branch.takes is not None:
            extras = {key: value for key, value in extras.items() if key in branch.takes}
        if hasattr(head, 'loss_of_pairs'):
            return checked_losses(name, branch, head.loss_of_pairs(online, target, pairs, **extras))
        results = [
            checked_losses(name, branch, head.loss(online[o], target[t], pair=(o, t), **extras)) for o, t in pairs
        ]
        check_same_keys(name, branch, results)
        return {key: torch.stack([result[key] for result in results]).mean() for key in results[0]}

    def _check_views(self, inputs) -> None:
        needed = 1 + max(self.online_views + self.target_views)
        if isinstance(inputs, Tensor) or len(inputs) < needed:
            got = 'one tensor' if isinstance(inputs, Tensor) else f'{len(inputs)} views'
            raise ValueError(
                f'Siamese needs a list of at least {needed} views (online_views={self.online_views}, '
                f'target_views={self.target_views}), got {got}; is there a MultiView in the train pipeline, and '
                "collate_fn=dict(type='default_collate') in the data loader?"
            )


def _watched(name: str, embeddings: dict[int, dict[str, Tensor]]) -> dict[int, Tensor]:
    """A branch's embeddings, or what its neck wants to be watched in their place, without gradient."""
    found = {view: z.get(name + WATCHED, z.get(name)) for view, z in embeddings.items()}
    return {view: rows.detach() for view, rows in found.items() if rows is not None}


def _reset_missing_target(model: Siamese, incompatible) -> None:
    """After a load: parts of the target that the checkpoint lacked start from the online weights just loaded."""
    lacking = [key.split('target.', 1)[1] for key in incompatible.missing_keys if 'target.' in key]
    online = {'backbone': model.backbone}
    online.update({f'necks.{name}': neck for name, neck in model.necks.items()})
    state = model.target.state_dict()
    for prefix, module in online.items():
        for key, value in module.state_dict().items():
            if f'{prefix}.{key}' in lacking:
                state[f'{prefix}.{key}'].copy_(value)
