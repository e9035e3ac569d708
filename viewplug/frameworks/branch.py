"""A branch of ``viewplug.Siamese``: a neck, a head, and what they read, built from its config."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from mmengine.model import BaseModule
from torch import nn

from viewplug.argument_kinds import fits, in_words
from viewplug.frameworks.branch_checks import check_head
from viewplug.frameworks.left_out import arguments_of, with_layout
from viewplug.heads.region import RegionHead
from viewplug.necks.region import RegionNeck
from viewplug.registry import MODELS
from viewplug.requests import Reads

if TYPE_CHECKING:
    from viewplug.frameworks.siamese import Siamese

PAIRS = {
    'cross': lambda online, target: online != target,
    'same': lambda online, target: online == target,
    'all': lambda online, target: True,
}
BRANCH_KEYS = ('neck', 'head', 'weight', 'pairs', 'reads', 'masked', 'online_views', 'target_views')


class Branch(BaseModule):
    """What is read off the network (neck) and what it is compared with (head), at which weight, for which views.

    Without a ``neck`` it goes through another branch's.

    Attributes:
        takes: names of the arguments of the head's loss; None if it takes whatever the batch has (``**extras``).
    """

    def __init__(self, neck: nn.Module | None, head: nn.Module, weight: float = 1.0, pairs: str = 'cross') -> None:
        super().__init__()
        if neck is not None:
            self.neck = neck
        self.head = head
        self.weight, self.pairs = weight, pairs
        self.takes = named_arguments(getattr(head, 'loss_of_pairs', None) or head.loss)


def reads_of(name: str, branches: Mapping[str, dict], model: Siamese) -> Reads:
    """The part of a branch's config that says what it reads.

    Raises:
        ValueError: a neck, a view, masks or queries that ``model`` does not have.
    """
    cfg = branches[name]
    neck = cfg.get('neck')
    if isinstance(neck, str) and (neck not in branches or isinstance(branches[neck].get('neck'), str)):
        owners = [other for other, its in branches.items() if not isinstance(its.get('neck'), str)]
        raise ValueError(
            f'model.branches.{name}.neck={neck!r} must name a branch that has a neck of its own, one of '
            f'{", ".join(owners)}'
        )
    views = {}
    for key in ('online_views', 'target_views'):
        views[key] = tuple(cfg[key]) if key in cfg else None
        if not set(views[key] or ()) <= set(getattr(model, key)):
            raise ValueError(
                f"model.branches.{name}.{key}={views[key]} is no part of the model's {key}={getattr(model, key)}"
            )
    if cfg.get('masked') and 'masks' not in model.takes:
        raise ValueError(
            f'model.branches.{name}.masked=True needs a backbone whose forward takes masks (viewplug.QueryViT with '
            f'mask_token=True), got {type(model.backbone).__name__}'
        )
    if cfg.get('masked') and cfg.get('reads', 'cls') in ('cls', 'query'):
        raise ValueError(
            f'model.branches.{name}.masked=True reads masked patches, got reads={cfg.get("reads", "cls")!r}; set '
            "reads='patch'"
        )
    if cfg.get('reads') == 'query' and 'queries' not in model.takes:
        raise ValueError(
            f"model.branches.{name}.reads='query' needs a backbone whose forward takes queries (viewplug.QueryViT), "
            f'got {type(model.backbone).__name__}; leave reads out to read what it gives'
        )
    owner = neck if isinstance(neck, str) else name
    return Reads(owner, cfg.get('reads', 'cls'), bool(cfg.get('masked', False)), **views)


def build_branch(name: str, cfg: Mapping, model: Siamese) -> Branch:
    """A branch of ``model``, which has its backbone and the branches whose necks are borrowed already.

    Raises:
        ValueError: keys that a branch does not take or lacks, a weight below 0, a head without a loss, or a
            ``feat_dim`` that is not the neck's.
    """
    unknown = set(cfg) - set(BRANCH_KEYS)
    for part in ('neck', 'head'):
        if isinstance(cfg.get(part), dict) and 'type' not in cfg[part]:
            example = dict(neck='viewplug.MLPNeck', head='viewplug.QueueHead')[part]
            raise ValueError(
                f"model.branches.{name}.{part} needs a type, e.g. type='{example}' (branches of the config: "
                f'{", ".join(model.reads)})'
            )
    if unknown or not {'neck', 'head'} <= set(cfg):
        raise ValueError(
            f'model.branches.{name} takes the keys neck, head, weight and pairs '
            f'(and {", ".join(BRANCH_KEYS[4:])}), got {", ".join(sorted(cfg))}'
        )
    for key, hint in (('weight', float), ('masked', bool)):
        if key in cfg and (not fits(cfg[key], hint) or cfg[key] < 0):
            least = ' of at least 0' if hint is float else ''
            raise ValueError(f'model.branches.{name}.{key} must be {in_words(hint)}{least}, got {cfg[key]!r}')
    cfg = {key: value for key, value in cfg.items() if key in BRANCH_KEYS[:4]}
    borrowed = isinstance(cfg['neck'], str)
    if borrowed:
        neck = model.branches[cfg['neck']].neck
    else:
        neck = built(with_layout(cfg['neck'], model.backbone, model.reads[name].entry))
    cfg['neck'] = None if borrowed else neck
    out_channels = getattr(neck, 'out_channels', None)
    if isinstance(cfg['head'], dict) and out_channels and 'feat_dim' in arguments_of(cfg['head']):
        cfg['head'] = {'feat_dim': out_channels, **cfg['head']}
    cfg['head'] = built(cfg['head'])
    check_head(name, cfg['head'])
    branch = Branch(**cfg)
    feat_dim = getattr(branch.head, 'feat_dim', None)
    if feat_dim and out_channels and feat_dim != out_channels:
        raise ValueError(
            f'model.branches.{name}.head.feat_dim={feat_dim}, but its neck ({type(neck).__name__}) gives '
            f'embeddings of length {out_channels}; set feat_dim={out_channels}'
        )
    if isinstance(neck, RegionNeck) and isinstance(branch.head, RegionHead):
        downsample = tuple(grid.downsample for grid in branch.head.grids)
        if downsample != neck.strides:
            raise ValueError(
                f'model.branches.{name}.head.downsample={downsample}, but the stages of its neck have the strides '
                f'{neck.strides}; set downsample to these, in this order'
            )
    return branch


def pairs_of(name: str, branch: Branch, model: Siamese) -> list[tuple[int, int]]:
    """The pairs of an online and a target view that a branch compares.

    Raises:
        ValueError: an unknown kind of ``pairs``, or none left.
    """
    if branch.pairs not in PAIRS:
        raise ValueError(f'model.branches.{name}.pairs must be one of {", ".join(PAIRS)}, got {branch.pairs!r}')
    admits = PAIRS[branch.pairs]
    reads = model.reads[name]
    online_views = tuple(view for view in model.online_views if reads.sees('online', view))
    target_views = tuple(view for view in model.target_views if reads.sees('target', view))
    pairs = [(o, t) for t in target_views for o in online_views if admits(o, t)]
    if not pairs:
        raise ValueError(
            f'model.branches.{name}: no pair of views to compare with pairs={branch.pairs!r}, '
            f'online_views={online_views}, target_views={target_views}'
        )
    return pairs


def named_arguments(method: Callable) -> set[str] | None:
    parameters = inspect.signature(method).parameters.values()
    return None if any(one.kind is one.VAR_KEYWORD for one in parameters) else {one.name for one in parameters}


def built(module: dict | nn.Module) -> nn.Module:
    return module if isinstance(module, nn.Module) else MODELS.build(module)
