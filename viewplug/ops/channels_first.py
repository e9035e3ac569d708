"""Maps of timm's channels-last networks (Swin, SwinV2, MambaOut, Sequencer, HieraDet) in torch's order."""

from __future__ import annotations

from torch import Tensor, nn


def channels_first(backbone: nn.Module) -> nn.Module:
    """Let ``backbone`` give its maps as (N, D, h, w) from now on, by a forward hook.

    timm says which networks have them as (N, h, w, D), in mmpretrain's TIMMBackbone and with ``features_only`` too, by
    ``output_fmt``; others are left alone. Class, forward and names of the weights stay, and copies have the hook too.
    """
    if _gives_channels_last(backbone):
        backbone.register_forward_hook(_turned)
    return backbone


def in_torchs_order(backbone: nn.Module, output):
    """What a forward of ``backbone`` gave, maps as (N, D, h, w), :func:`channels_first` or not."""
    return _turned(backbone, None, output) if _gives_channels_last(backbone) else output


def _gives_channels_last(backbone: nn.Module) -> bool:
    timms = getattr(backbone, 'timm_model', backbone)
    return getattr(timms, 'output_fmt', None) == 'NHWC' and _turned not in backbone._forward_hooks.values()


def _turned(backbone: nn.Module, inputs, output):
    if isinstance(output, tuple | list):
        return type(output)(_turned(backbone, inputs, one) for one in output)
    is_map = isinstance(output, Tensor) and output.dim() == 4
    return output.permute(0, 3, 1, 2) if is_map else output
