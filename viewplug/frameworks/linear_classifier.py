"""A linear classifier on a network that does not learn."""

from __future__ import annotations

from mmpretrain.models.classifiers import ImageClassifier
from torch import Tensor

from viewplug.backbones.pooling import pooled
from viewplug.ops.channels_first import channels_first
from viewplug.registry import MODELS


@MODELS.register_module()
class LinearClassifier(ImageClassifier):
    """mmpretrain's ImageClassifier (same arguments) whose backbone stays as it is: no gradients, no batch statistics.

    The backbone is frozen from birth, before DDP looks for parameters that want gradients, and remains in evaluation
    mode through ``train()``. Unlike a backbone's own ``frozen_stages`` this holds for every backbone and all of it.
    ``viewplug.FrozenBackboneHook`` checks it while training. Tokens (N, L, D) that come to the head are averaged, as
    kNN does (:func:`viewplug.backbones.pooled`).
    """

    def __init__(self, *args, **kwargs) -> None:
        super().__init__(*args, **kwargs)
        channels_first(self.backbone).requires_grad_(False)
        self.backbone.eval()

    def train(self, mode: bool = True) -> LinearClassifier:
        super().train(mode)
        self.backbone.eval()
        return self

    def extract_feat(self, inputs, stage: str = 'neck'):
        if stage == 'pre_logits':
            return self.head.pre_logits(self.extract_feat(inputs))
        features = super().extract_feat(inputs, stage)
        last = features[-1] if isinstance(features, tuple | list) else features
        is_tokens = stage == 'neck' and isinstance(last, Tensor) and last.dim() == 3
        return (pooled(last),) if is_tokens else features
