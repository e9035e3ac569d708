"""The shared head of an R50-C4 detector as MoCo trains it."""

from __future__ import annotations

from mmcv.cnn import build_norm_layer
from mmengine.model import BaseModule
from torch import Tensor

from viewplug.registry import MODELS


@MODELS.register_module()
class Res5WithNorm(BaseModule):
    """The last stage of a ResNet, run on RoI features, with one more norm layer behind it.

    ReSim (arXiv:2103.12902), appendix A: "the box prediction head uses the C5 stage with a batch norm layer following
    its output", as MoCo's detectors have it. Goes where mmdet's ``ResLayer`` goes, ``roi_head.shared_head``, with its
    parameter names (``layer4.``), so that a pre-training checkpoint fills it through ``prefix='backbone.'``; the added
    ``norm`` is new.

    Args:
        depth: of the ResNet, 50 in the papers.
        norm_cfg: of the stage and of the added layer.
        style: 'pytorch', the stride in the 3x3 convolution, as everywhere in this project.
        init_cfg: mmengine's. Without one, weights are random.
        **kwargs: those of mmdet's ``ResLayer``, ``stride``, ``dilation``, ``with_cp``.
    """

    def __init__(
        self,
        depth: int = 50,
        norm_cfg: dict | None = None,
        style: str = 'pytorch',
        init_cfg: dict | list | None = None,
        **kwargs,
    ) -> None:
        super().__init__(init_cfg)
        norm_cfg = dict(norm_cfg or dict(type='SyncBN', requires_grad=True))
        stage = MODELS.build(
            dict(type='mmdet.ResLayer', depth=depth, stage=3, norm_cfg=norm_cfg, norm_eval=False, style=style, **kwargs)
        )
        self.layer4 = stage.layer4
        last = self.layer4[-1]
        channels = (last.conv3 if hasattr(last, 'conv3') else last.conv2).out_channels
        self.norm = build_norm_layer(norm_cfg, channels)[1]

    def forward(self, features: Tensor) -> Tensor:
        """(R, C4 channels, 14, 14) to (R, C5 channels, 7, 7)."""
        return self.norm(self.layer4(features))
