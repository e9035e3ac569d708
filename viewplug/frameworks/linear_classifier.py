"""Linear classifiers on what any backbone gives: of a network that does not learn, and of one that does."""

from __future__ import annotations

import inspect
from collections.abc import Mapping

from mmengine.model import initialize
from mmpretrain.models.classifiers import ImageClassifier
from torch import Tensor, nn

from viewplug.backbones.pooling import of_whole_image, pooled
from viewplug.ops.channels_first import channels_first
from viewplug.registry import MODELS, class_of


@MODELS.register_module()
class TunedLinearClassifier(ImageClassifier):
    """mmpretrain's ImageClassifier (same arguments, same names of weights) for every backbone; all of it learns.

    Channels-last maps are turned (:func:`viewplug.ops.channels_first.channels_first`), of a mapping ``cls`` is read,
    and tokens (N, L, D) that come to the head are averaged, as kNN does (:func:`viewplug.backbones.pooled`).
    ``backbone.init_cfg`` goes with any module, whether its ``__init__`` takes it or not.
    """

    def __init__(self, backbone: dict, *args, **kwargs) -> None:
        init_cfg = None
        if 'init_cfg' in backbone and not _takes_init_cfg(backbone['type']):
            backbone = dict(backbone)
            init_cfg = backbone.pop('init_cfg')
        super().__init__(backbone, *args, **kwargs)
        self._init_of_backbone = init_cfg
        channels_first(self.backbone)
        self.backbone.register_forward_hook(_as_mmpretrain)

    def init_weights(self) -> None:
        super().init_weights()
        if self._init_of_backbone:
            initialize(self.backbone, self._init_of_backbone)

    def extract_feat(self, inputs, stage: str = 'neck'):
        if stage == 'pre_logits':
            return self.head.pre_logits(self.extract_feat(inputs))
        features = super().extract_feat(inputs, stage)
        last = features[-1] if isinstance(features, tuple | list) else features
        is_tokens = stage == 'neck' and isinstance(last, Tensor) and last.dim() == 3
        return (pooled(last),) if is_tokens else features


@MODELS.register_module()
class LinearClassifier(TunedLinearClassifier):
    """The same whose backbone stays as it is: no gradients, no batch statistics.

    The backbone is frozen from birth, before DDP looks for parameters that want gradients, and remains in evaluation
    mode through ``train()``. Unlike a backbone's own ``frozen_stages`` this holds for every backbone and all of it.
    ``viewplug.FrozenBackboneHook`` checks it while training.
    """

    def __init__(self, *args, **kwargs) -> None:
        super().__init__(*args, **kwargs)
        self.backbone.requires_grad_(False)
        self.backbone.eval()

    def train(self, mode: bool = True) -> LinearClassifier:
        super().train(mode)
        self.backbone.eval()
        return self


def _takes_init_cfg(kind: str | type) -> bool:
    found = class_of(kind)
    if found is None:  # mmengine says so when it builds it
        return True
    parameters = inspect.signature(found).parameters.values()
    return any(one.name == 'init_cfg' or one.kind is one.VAR_KEYWORD for one in parameters)


def _as_mmpretrain(backbone: nn.Module, inputs, output):
    """Its heads take a tuple."""
    output = of_whole_image(output) if isinstance(output, Mapping) else output
    return tuple(output) if isinstance(output, tuple | list) else (output,)
