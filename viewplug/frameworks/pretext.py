"""Pretext tasks: tell which transformation was applied to an image."""

from __future__ import annotations

from mmengine.model import BaseModel
from torch import Tensor, nn
from torch.nn import functional as F

from viewplug.backbones import backbone_layout
from viewplug.frameworks.branch import built
from viewplug.frameworks.parts import vectors_of_parts
from viewplug.ops import at_least_float32
from viewplug.ops.channels_first import channels_first
from viewplug.registry import MODELS


@MODELS.register_module()
class Pretext(BaseModel):
    """Classify which transformation was applied: rotation, jigsaw, relative position.

    The task turns a batch into examples of P parts each and their labels. Each part goes through the same backbone
    (siamese), its last map is averaged and, with ``part_channels``, mapped to that many numbers; the parts of an
    example are put side by side and classified, through ``hidden_channels`` if there are any.

    Args:
        backbone: config of any OpenMMLab backbone.
        task: config or instance of ``viewplug.RotationTask``, ``viewplug.JigsawTask``,
            ``viewplug.RelativePositionTask``, or any module with ``source``, ``num_parts``, ``num_classes`` and a
            forward from the batch's ``source`` ('inputs' or 'patches') to parts (M, P, 3, h, w) and labels (M,).
        part_channels: length of a part's vector; None: that of the backbone.
        hidden_channels: width of the layer before the classifier; None: there is none.
        data_preprocessor: default ``viewplug.ViewsDataPreprocessor``.

    Attributes:
        backbone: its checkpoint prefix ``backbone.`` is an API.
        latest: as of ``viewplug.Siamese``: ``parts`` -> online -> the parts' vectors of the last training forward.

    Raises:
        ValueError: a width below 1; a batch without the task's source, or parts of a size that the backbone cannot
            take.
    """

    def __init__(
        self,
        backbone: dict | nn.Module,
        task: dict | nn.Module,
        part_channels: int | None = None,
        hidden_channels: int | None = None,
        data_preprocessor: dict | nn.Module | None = None,
        init_cfg=None,
    ) -> None:
        data_preprocessor = data_preprocessor or {}
        if isinstance(data_preprocessor, dict):
            data_preprocessor = {'type': 'viewplug.ViewsDataPreprocessor', **data_preprocessor}
        for key, value in (('part_channels', part_channels), ('hidden_channels', hidden_channels)):
            if value is not None and value < 1:
                raise ValueError(f'model.{key} must be None or at least 1, got {value}')
        super().__init__(data_preprocessor=data_preprocessor, init_cfg=init_cfg)
        self.backbone = channels_first(built(backbone))
        self.task = built(task)
        width = backbone_layout(self.backbone)[0][-1]
        self.part_fc = nn.Identity()
        if part_channels:
            self.part_fc = nn.Sequential(nn.Linear(width, part_channels), nn.ReLU(inplace=True))
        layers, width = [], self.task.num_parts * (part_channels or width)
        if hidden_channels:
            layers, width = [nn.Linear(width, hidden_channels), nn.ReLU(inplace=True)], hidden_channels
        self.classifier = nn.Sequential(*layers, nn.Linear(width, self.task.num_classes))
        self.latest: dict[str, dict] = {}

    def forward(self, inputs=None, data_samples=None, mode: str = 'tensor', **extras):
        """``mode='tensor'``: the backbone's features of whole images; ``mode='loss'``: see :meth:`loss`."""
        if mode == 'loss':
            return self.loss({'inputs': inputs, **extras})
        if mode == 'tensor':
            return self.backbone(inputs)
        raise ValueError(f"Pretext: mode must be 'loss' or 'tensor', got {mode!r}")

    def loss(self, batch: dict) -> dict[str, Tensor]:
        """
        Args:
            batch: with the task's source: ``inputs`` (N, 3, H, W) or ``patches`` (N, rows, cols, 3, p, p), normalised.

        Returns:
            ``loss``: cross entropy, and ``accuracy`` of the task, percent.
        """
        images = batch.get(self.task.source)
        if not isinstance(images, Tensor):
            raise ValueError(
                f'Pretext: {type(self.task).__name__} needs a batch with {self.task.source}, got '
                f'{", ".join(key for key, value in batch.items() if value is not None)}; patches come from '
                "dict(type='viewplug.PatchGrid', ...), dict(type='viewplug.PackViews') in the train "
                'pipeline, inputs from one image a sample, without MultiView'
            )
        parts, labels = self.task(images)
        vectors = vectors_of_parts(self.backbone, parts.flatten(0, 1), self.task.source)
        self.latest['parts'] = dict(online={0: vectors.detach()}, target={})
        logits = at_least_float32(self.classifier(self.part_fc(vectors).unflatten(0, parts.shape[:2]).flatten(1)))
        accuracy = 100 * (logits.detach().argmax(dim=1) == labels).float().mean()
        return {'loss': F.cross_entropy(logits, labels), 'accuracy': accuracy}
