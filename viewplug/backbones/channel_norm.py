"""Layer normalisation over channels, in batch norm's place and under its names."""

from __future__ import annotations

from mmpretrain.models.utils.norm import LayerNorm2d

from viewplug.registry import MODELS


@MODELS.register_module()
class ChannelLayerNorm(LayerNorm2d):
    """Layer norm over the channels of each position, (N, C, H, W) to the same (CPC v2, arXiv:1905.09272, sec. 4.1).

    ``norm_cfg=dict(type='viewplug.ChannelLayerNorm')`` in any OpenMMLab backbone. Neither patches nor positions tell
    each other anything, so a patch gives what the same pixels give within a whole image, but for the padding at its
    border, and it works alike for any size. Its parameters are called ``bn1.weight`` and so on, as batch norm's are: a
    ResNet's checkpoint has the names that detectors built with this ``norm_cfg`` look for. It has no running
    statistics, so a detector with BN loads weights that compute another function.
    """

    _abbr_ = 'bn'  # mmcv derives the attribute's name from it
