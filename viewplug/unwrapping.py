"""The model inside what a Runner wraps it in."""

from mmengine.model import is_model_wrapper
from torch import nn


def unwrapped(model: nn.Module) -> nn.Module:
    """``model`` itself, or the one that a wrapper of mmengine's (DistributedDataParallel and others) holds."""
    return model.module if is_model_wrapper(model) else model
