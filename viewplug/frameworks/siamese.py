"""The one framework: views, a network that reads them, a target, and branches that compare the two."""

from __future__ import annotations

import inspect
from collections.abc import Sequence

import torch
from mmengine.model import BaseModel, BaseModule, ModuleDict
from torch import Tensor, nn

from viewplug.backbones.layout import backbone_layout
from viewplug.ops.gradient_cache import in_parts
from viewplug.registry import MODELS
from viewplug.targets import Embeddings, encode, encode_views
from viewplug.views import ViewGeometry

PAIRS = {
    'cross': lambda online, target: online != target,
    'same': lambda online, target: online == target,
    'all': lambda online, target: True,
}


class Branch(BaseModule):
    """What is read off the network (neck) and what it is compared with (head), at which weight, for which views."""

    def __init__(self, neck: nn.Module, head: nn.Module, weight: float = 1.0, pairs: str = 'cross') -> None:
        super().__init__()
        self.neck, self.head = neck, head
        self.weight, self.pairs = weight, pairs


@MODELS.register_module()
class Siamese(BaseModel):
    """Siamese self-supervised learning; MoCo, SimCLR, BYOL, SimSiam, DINO and their composites are configs of it.

    Args:
        backbone: config of any OpenMMLab (or timm) backbone.
        branches: name -> dict(neck, head, weight=1.0, pairs='cross'). Each branch reads the same features.
        target: config of the target: SharedTarget, StopGradTarget or MomentumTarget.
        online_views, target_views: which views each side sees. The default is asymmetric MoCo (online 0, target 1);
            ``(0, 1), (0, 1)`` is symmetric; multi-crop shows all views to online and the global ones to the target.
        joint_views: encode neighbouring online views of one size in one forward. Batch norm then takes its statistics
            over these views together, as SimCLR's does; apart (MoCo, BYOL, SimSiam) each view has its own.
        grad_cache: encode this many images at a time (all their views), keep no activations, and compute them again in
            backward: a batch that memory would not hold, with its exact gradient (``viewplug.ops.gradient_cache``).
            Batch norm's statistics are then those of the images encoded together. None encodes the whole batch at once.
        data_preprocessor: default mmpretrain's SelfSupDataPreprocessor.

    A branch compares every pair of an online view o and a target view t that its ``pairs`` admits ('cross': o != t,
    'same': o == t, 'all'); its loss is the mean over the pairs times its weight. ``in_channels`` and ``in_strides``
    that a neck of ours leaves out are read off the backbone, a head's ``feat_dim`` off the neck.

    Attributes:
        backbone: the online backbone; its checkpoint prefix ``backbone.`` is an API.
        latest: branch -> dict(online={view: (N, D)}, target={view: (N, D)}), detached, of the last training forward.

    Raises:
        ValueError: unknown branch keys or pairs, a ``feat_dim`` that is not the neck's, views that the batch lacks, a
            ``grad_cache`` below 1.
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
            data_preprocessor = {'type': 'mmpretrain.SelfSupDataPreprocessor', **data_preprocessor}
        if grad_cache is not None and grad_cache < 1:
            raise ValueError(f'model.grad_cache is a number of images to encode at a time, or None, got {grad_cache}')
        super().__init__(data_preprocessor=data_preprocessor, init_cfg=init_cfg)
        self.grad_cache = grad_cache
        self.backbone = _built(backbone)
        self.branches = ModuleDict({name: self._build_branch(name, dict(cfg)) for name, cfg in branches.items()})
        self.online_views, self.target_views = tuple(online_views), tuple(target_views)
        self.joint_views = joint_views
        self.pairs = {name: self._pairs_of(name, branch) for name, branch in self.branches.items()}
        self.target = _built(target)
        self.target.attach(self)
        self.register_load_state_dict_post_hook(_reset_missing_target)
        self.latest: dict[str, dict] = {}

    def init_weights(self) -> None:
        super().init_weights()
        if not self._initialised_from_checkpoint():  # which brings the target's weights, or copies the online ones
            self.target.reset(self)

    def _initialised_from_checkpoint(self) -> bool:
        configs = self.init_cfg if isinstance(self.init_cfg, list) else [self.init_cfg or {}]
        return any(cfg.get('type') == 'Pretrained' and not cfg.get('prefix') for cfg in configs)

    def encode(self, images: Tensor) -> dict[str, Tensor]:
        """Online embeddings of one view: (N, 3, H, W) -> branch -> (N, D)."""
        return encode(self.backbone, ((name, branch.neck) for name, branch in self.branches.items()), images)

    def encode_views(self, inputs: Sequence[Tensor], views: Sequence[int]) -> Embeddings:
        """Online embeddings of some of the ``inputs``: view -> branch -> (N, D)."""

        def embeddings(images: Sequence[Tensor]) -> Embeddings:
            return encode_views(self.encode, dict(zip(views, images, strict=True)), views, self.joint_views)

        images = [inputs[view] for view in views]
        if self.grad_cache is None or not images or len(images[0]) <= self.grad_cache:
            return embeddings(images)
        return in_parts(embeddings, images, self.grad_cache, self)

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
            extras: what only one method needs (``queries``, ``masks``, ...), handed on to the heads.

        Returns:
            ``{branch}.{key}`` -> tensor, for each key that the branch's head returns, ``loss`` among them.
        """
        self._check_views(inputs)
        if geometry is None:
            geometry = ViewGeometry.from_samples(data_samples, inputs[0].device)
        if self.training:
            self.target.update(self)
        online = self.encode_views(inputs, self.online_views)
        target = self.target.embeddings(self, inputs, self.target_views, online)
        losses = {}
        for name, branch in self.branches.items():
            results = [
                branch.head.loss(online[o][name], target[t][name], geometry=geometry, pair=(o, t), **extras)
                for o, t in self.pairs[name]
            ]
            for key in results[0]:
                value = torch.stack([result[key] for result in results]).mean()
                losses[f'{name}.{key}'] = value * branch.weight if 'loss' in key else value
            if self.training and hasattr(branch.head, 'update'):
                branch.head.update([target[view][name] for view in self.target_views])
            self.latest[name] = dict(
                online={view: z[name].detach() for view, z in online.items()},
                target={view: z[name].detach() for view, z in target.items()},
            )
        return losses

    def _build_branch(self, name: str, cfg: dict) -> Branch:
        unknown = set(cfg) - {'neck', 'head', 'weight', 'pairs'}
        for part in ('neck', 'head'):
            if isinstance(cfg.get(part), dict) and 'type' not in cfg[part]:
                raise ValueError(f"model.branches.{name}.{part} needs a type, e.g. type='viewplug.MLPNeck'")
        if unknown or not {'neck', 'head'} <= set(cfg):
            raise ValueError(
                f'model.branches.{name} takes the keys neck, head, weight and pairs, got {", ".join(sorted(cfg))}'
            )
        cfg['neck'] = _built(self._with_layout(cfg['neck']))
        out_channels = getattr(cfg['neck'], 'out_channels', None)
        if isinstance(cfg['head'], dict) and out_channels and 'feat_dim' in _arguments_of(cfg['head']):
            cfg['head'] = {'feat_dim': out_channels, **cfg['head']}
        cfg['head'] = _built(cfg['head'])
        branch = Branch(**cfg)
        feat_dim = getattr(branch.head, 'feat_dim', None)
        if feat_dim and out_channels and feat_dim != out_channels:
            raise ValueError(
                f'model.branches.{name}.head.feat_dim={feat_dim}, but its neck ({type(branch.neck).__name__}) gives '
                f'embeddings of length {out_channels}; set feat_dim={out_channels}'
            )
        return branch

    def _with_layout(self, neck: dict | nn.Module) -> dict | nn.Module:
        """Fill in ``in_channels`` and ``in_strides`` where a neck of ours takes them and was not given them."""
        if isinstance(neck, nn.Module):
            return neck
        wanted = {'in_channels', 'in_strides'} & _arguments_of(neck) - set(neck)
        if not wanted:
            return neck
        layout = dict(zip(('in_channels', 'in_strides'), backbone_layout(self.backbone), strict=True))
        return {**neck, **{key: layout[key] for key in wanted}}

    def _pairs_of(self, name: str, branch: Branch) -> list[tuple[int, int]]:
        if branch.pairs not in PAIRS:
            raise ValueError(f'model.branches.{name}.pairs must be one of {", ".join(PAIRS)}, got {branch.pairs!r}')
        admits = PAIRS[branch.pairs]
        pairs = [(o, t) for t in self.target_views for o in self.online_views if admits(o, t)]
        if not pairs:
            raise ValueError(
                f'model.branches.{name}: no pair of views to compare with pairs={branch.pairs!r}, '
                f'online_views={self.online_views}, target_views={self.target_views}'
            )
        return pairs

    def _check_views(self, inputs) -> None:
        needed = 1 + max(self.online_views + self.target_views)
        if isinstance(inputs, Tensor) or len(inputs) < needed:
            got = 'one tensor' if isinstance(inputs, Tensor) else f'{len(inputs)} views'
            raise ValueError(
                f'Siamese needs a list of at least {needed} views (online_views={self.online_views}, '
                f'target_views={self.target_views}), got {got}; is there a MultiView in the train pipeline, and '
                "collate_fn=dict(type='default_collate') in the data loader?"
            )


def _built(module: dict | nn.Module) -> nn.Module:
    return module if isinstance(module, nn.Module) else MODELS.build(module)


def _arguments_of(cfg: dict) -> set[str]:
    """Names of the arguments that the component of ``cfg`` takes, if it is one of ours."""
    kind = cfg['type']
    if isinstance(kind, str):
        kind = MODELS.get(kind if '.' in kind else f'viewplug.{kind}')
    ours = kind is not None and kind.__module__.startswith('viewplug.')
    return set(inspect.signature(kind).parameters) if ours else set()


def _reset_missing_target(model: Siamese, incompatible) -> None:
    """After a load: parts of the target that the checkpoint lacked start from the online weights just loaded."""
    lacking = [key.split('target.', 1)[1] for key in incompatible.missing_keys if 'target.' in key]
    online = {'backbone': model.backbone}
    online.update({f'necks.{name}': branch.neck for name, branch in model.branches.items()})
    state = model.target.state_dict()
    for prefix, module in online.items():
        for key, value in module.state_dict().items():
            if f'{prefix}.{key}' in lacking:
                state[f'{prefix}.{key}'].copy_(value)
