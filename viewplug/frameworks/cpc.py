"""Contrastive predictive coding: patches of an image predict those further on."""

from __future__ import annotations

from collections.abc import Sequence

from mmengine.model import BaseModel, ModuleDict
from torch import Tensor, nn

from viewplug.backbones import backbone_layout
from viewplug.frameworks.branch import built
from viewplug.frameworks.parts import vectors_of_parts
from viewplug.heads.cpc import check_directions
from viewplug.necks.masked_conv import toward
from viewplug.ops.channels_first import channels_first
from viewplug.registry import MODELS


@MODELS.register_module()
class CPC(BaseModel):
    """CPC version 1 (arXiv:1807.03748, sec. 3.3) and 2 (arXiv:1905.09272); ``configs/cpc/`` has both and what lies
    between.

    The backbone sees patches (``viewplug.PatchGrid``), each alone, and its last map is averaged to one vector a patch.
    For each direction a context network of its own sums up the patches so far, and the head predicts from it those
    that follow. Batch norm lets patches tell each other what they should predict (version 2, sec. 4.1): prefer
    ``norm_cfg=dict(type='viewplug.ChannelLayerNorm')``.

    Args:
        backbone: config of any OpenMMLab backbone; afterwards it reads whole images.
        context: config of a module (N, D, rows, cols) -> the same shape in which no row sees one below it, such as
            ``viewplug.MaskedConvContext``; ``in_channels`` is filled in.
        head: config of ``viewplug.CPCHead``; ``in_channels`` and ``directions`` are filled in.
        directions: where the patches to predict lie, seen from the known ones: 'down' (both versions), 'up' (BU in
            version 2, Fig. 3), 'right', 'left' (HP).
        data_preprocessor: default ``viewplug.ViewsDataPreprocessor``.

    Attributes:
        backbone: its checkpoint prefix ``backbone.`` is an API.
        latest: as of ``viewplug.Siamese``: ``patches`` -> online -> the patches' vectors of the last training forward.

    Raises:
        ValueError: unknown directions; a batch without ``patches``, or with ones of a size that the backbone cannot
            take.
    """

    def __init__(
        self,
        backbone: dict | nn.Module,
        context: dict,
        head: dict,
        directions: Sequence[str] = ('down',),
        data_preprocessor: dict | nn.Module | None = None,
        init_cfg=None,
    ) -> None:
        data_preprocessor = data_preprocessor or {}
        if isinstance(data_preprocessor, dict):
            data_preprocessor = {'type': 'viewplug.ViewsDataPreprocessor', **data_preprocessor}
        super().__init__(data_preprocessor=data_preprocessor, init_cfg=init_cfg)
        check_directions('model', directions)
        self.backbone = channels_first(built(backbone))
        channels = backbone_layout(self.backbone)[0][-1]
        context = {'in_channels': channels, **context}
        self.contexts = ModuleDict({direction: MODELS.build(dict(context)) for direction in directions})
        self.head = MODELS.build({'in_channels': channels, 'directions': tuple(directions), **head})
        self.latest: dict[str, dict] = {}

    def forward(self, inputs=None, data_samples=None, mode: str = 'tensor', patches: Tensor | None = None, **extras):
        """``mode='tensor'``: the backbone's features of whole images; ``mode='loss'``: see :meth:`loss`."""
        if mode == 'loss':
            return self.loss(patches)
        if mode == 'tensor':
            return self.backbone(inputs)
        raise ValueError(f"CPC: mode must be 'loss' or 'tensor', got {mode!r}")

    def loss(self, patches: Tensor | None) -> dict[str, Tensor]:
        """
        Args:
            patches: (N, rows, cols, 3, p, p), normalised.
        """
        if patches is None or patches.dim() != 6:
            raise ValueError(
                'CPC: model.forward needs patches (N, rows, cols, 3, p, p), got '
                f'{None if patches is None else tuple(patches.shape)}; the train pipeline ends with '
                "dict(type='viewplug.PatchGrid', ...), dict(type='viewplug.PackViews')"
            )
        latents = self.encode(patches)
        self.latest['patches'] = dict(online={0: latents.detach()}, target={})
        contexts = {name: context(toward(latents, name)) for name, context in self.contexts.items()}
        return self.head.loss(contexts, latents)

    def encode(self, patches: Tensor) -> Tensor:
        """One vector a patch: (N, rows, cols, 3, p, p) -> (N, D, rows, cols)."""
        vectors = vectors_of_parts(self.backbone, patches.flatten(0, 2))
        return vectors.unflatten(0, patches.shape[:3]).permute(0, 3, 1, 2)
