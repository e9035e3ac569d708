"""A linear classifier on a network that does not learn."""

from __future__ import annotations

from mmpretrain.models.classifiers import ImageClassifier

from viewplug.ops.channels_first import channels_first
from viewplug.registry import MODELS


@MODELS.register_module()
class LinearClassifier(ImageClassifier):
    """mmpretrain's ImageClassifier (same arguments) whose backbone stays as it is: no gradients, no batch statistics.

    The backbone is frozen from birth, before DDP looks for parameters that want gradients, and remains in evaluation
    mode through ``train()``. Unlike a backbone's own ``frozen_stages`` this holds for every backbone and all of it.
    ``viewplug.FrozenBackboneHook`` checks it while training.
    """

    def __init__(self, *args, **kwargs) -> None:
        super().__init__(*args, **kwargs)
        channels_first(self.backbone).requires_grad_(False)
        self.backbone.eval()

    def train(self, mode: bool = True) -> LinearClassifier:
        super().train(mode)
        self.backbone.eval()
        return self
