"""Which parameters LARS adapts and decays."""

from __future__ import annotations

from mmengine.optim import DefaultOptimWrapperConstructor
from torch import nn

from viewplug.registry import OPTIM_WRAPPER_CONSTRUCTORS


@OPTIM_WRAPPER_CONSTRUCTORS.register_module()
class LARSConstructor(DefaultOptimWrapperConstructor):
    """mmengine's constructor, for which vectors are neither adapted nor decayed (``optim_wrapper.constructor``).

    Biases, norms' weights and whatever else has one dimension or none are left out of LARS's adaptation and of weight
    decay in SimCLR (arXiv:2002.05709, sec. 2.2), BYOL (arXiv:2006.07733, sec. 3.2) and their successors. Here they are
    told by their dimensions: by their names, each backbone would need a list of its own.

    Args:
        optim_wrapper_cfg: with ``mmpretrain.LARS``, or an optimiser like it that heeds ``lars_exclude`` in a group.
        paramwise_cfg: as mmengine's, for all else.
    """

    def __init__(self, optim_wrapper_cfg: dict, paramwise_cfg: dict | None = None) -> None:
        super().__init__(optim_wrapper_cfg, paramwise_cfg or dict(custom_keys={}))  # empty: no group of its own each

    def add_params(self, params: list[dict], module: nn.Module, *args, **kwargs) -> None:
        begin = len(params)
        super().add_params(params, module, *args, **kwargs)
        for group in params[begin:]:
            if all(param.ndim <= 1 for param in group['params']):
                group.update(lars_exclude=True, weight_decay=0.0)
