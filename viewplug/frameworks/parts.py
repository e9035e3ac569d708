"""Parts of images (patches, tiles, turned images) through a backbone."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from viewplug.backbones import pooled

SIZED_BY = dict(patches='patch_size of viewplug.PatchGrid', inputs='scale of the crop')


def vectors_of_parts(backbone: nn.Module, parts: Tensor, source: str = 'patches') -> Tensor:
    """One vector a part: (M, 3, h, w) -> (M, D).

    Args:
        source: key of the batch that they come from, 'patches' or 'inputs'.

    Raises:
        ValueError: parts of a size that the backbone cannot take.
    """
    try:
        return pooled(backbone(parts))
    except (AssertionError, RuntimeError) as error:
        if _takes(backbone, parts[:1]):
            raise
        height, width = parts.shape[-2:]
        raise ValueError(
            f'{type(backbone).__name__} cannot take {source} of {height} x {width} px '
            f'({" ".join(str(error).split())[:200]}); set another {SIZED_BY.get(source, "size")} in the train pipeline'
        ) from error


@torch.no_grad()
def _takes(backbone: nn.Module, part: Tensor) -> bool:
    """Whether a blank part of this size gets through, so that something else was wrong."""
    modes = {module: module.training for module in backbone.modules()}
    blank = torch.zeros_like(part)
    try:
        backbone.eval()
        backbone(blank)
    except (AssertionError, RuntimeError):
        return False
    finally:
        for module, mode in modes.items():
            module.training = mode
    return True
