"""Parts of images (patches, tiles, turned images) through a backbone."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from viewplug.backbones import pooled

OTHER_SIZES = (224, 128, 96, 64, 32)
SIZED_BY = dict(patches='patch_size of viewplug.PatchGrid', inputs='scale of the crop')


def vectors_of_parts(backbone: nn.Module, parts: Tensor, source: str = 'patches') -> Tensor:
    """One vector a part: (M, 3, h, w) -> (M, D).

    Args:
        source: key of the batch that they come from, 'patches' or 'inputs'.

    Raises:
        ValueError: parts of a size that the backbone cannot take, while it takes another.
    """
    try:
        return pooled(backbone(parts))
    except (AssertionError, RuntimeError) as error:
        height, width = parts.shape[-2:]
        others = (size for size in OTHER_SIZES if (size, size) != (height, width))
        if _takes(backbone, parts, height, width) or not any(_takes(backbone, parts, size, size) for size in others):
            raise
        raise ValueError(
            f'{type(backbone).__name__} cannot take {source} of {height} x {width} px '
            f'({" ".join(str(error).split())[:200]}); set another {SIZED_BY.get(source, "size")} in the train pipeline'
        ) from error


@torch.no_grad()
def _takes(backbone: nn.Module, parts: Tensor, height: int, width: int) -> bool:
    """Whether a blank part of a size gets through."""
    modes = {module: module.training for module in backbone.modules()}
    try:
        backbone.eval()
        backbone(parts.new_zeros(1, parts.shape[1], height, width))
    except (AssertionError, RuntimeError):
        return False
    finally:
        for module, mode in modes.items():
            module.training = mode
    return True
