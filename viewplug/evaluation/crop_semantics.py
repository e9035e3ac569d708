"""What crops show against how much they differ, judged by a supervised network (ContrastiveCrop, sec. 3.4, fig. 4)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from viewplug.crop_sampling import sample_crop
from viewplug.transforms import ContrastiveCrop

Scorer = Callable[[Tensor], tuple[Tensor, Tensor]]
"""Images (N, 3, H, W) -> logits (N, classes), features (N, D)."""

VARIANTS = {
    'RandomCrop': (False, False),
    'localisation': (True, False),
    'suppression': (False, True),
    'ContrastiveCrop': (True, True),
}
"""Name -> whether crops lie in the image's box, and keep away from its middle."""


@dataclass
class CropPairs:
    """Attributes:
    scores: (P,) mean probability of the image's class in the two crops of a pair.
    distances: (P,) between the unit features of the two, 0 to 2.
    """

    scores: Tensor
    distances: Tensor


class LinearScorer(nn.Module):
    """A classifier whose last ``nn.Linear`` gives the logits (mmpretrain's, torchvision's, timm's), with its features.

    Args:
        forward: images -> logits.
        model: that ``forward`` runs.

    Raises:
        ValueError: there is no linear layer in it.
    """

    def __init__(self, forward: Callable[[Tensor], Tensor], model: nn.Module) -> None:
        super().__init__()
        layers = [module for module in model.modules() if isinstance(module, nn.Linear)]
        if not layers:
            raise ValueError(f'the scorer must end in a linear layer, and {type(model).__name__} has none')
        self.model, self.logits = model.eval(), forward
        layers[-1].register_forward_hook(self._catch)

    @torch.no_grad()
    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        logits = self.logits(images)
        return logits, self._features.flatten(1)

    def _catch(self, layer: nn.Module, inputs: tuple, output: Tensor) -> None:
        self._features = inputs[0]


@torch.no_grad()
def judge_crops(
    scorer: Scorer,
    images: Tensor,
    labels: Tensor,
    boxes: Tensor,
    crop: ContrastiveCrop,
    pairs: int = 8,
    seed: int = 0,
    variants: Sequence[str] = tuple(VARIANTS),
) -> dict[str, CropPairs]:
    """Pairs of crops of every image, cut in each way, and judged. All ways draw from the same random numbers' seed.

    Args:
        images: (N, C, H, W) uint8, whole, as the scorer takes them but for their size and type: it gets float32 crops
            of ``crop.scale``.
        labels: (N,) classes of the scorer.
        boxes: (N, 4), fractions of the image.
        crop: its ranges, centre and size.
        pairs: of each image and variant.
    """
    height, width = images.shape[-2:]
    found = {}
    for name in variants:
        localised, suppressed = VARIANTS[name]
        rng = np.random.default_rng(seed)
        scores, distances = [], []
        for _ in range(pairs):
            sides = []
            for _ in range(2):
                cut = []
                for image, box in zip(images, boxes, strict=True):
                    top, left, high, wide = sample_crop(
                        height,
                        width,
                        box if localised else None,
                        crop.crop_ratio_range,
                        crop.aspect_ratio_range,
                        crop.alpha if suppressed else 1.0,
                        crop.center if suppressed else 'beta',
                        crop.max_attempts,
                        rng,
                    )
                    part = image[None, :, top : top + high, left : left + wide].float()
                    cut.append(F.interpolate(part, size=tuple(crop.scale), mode='bilinear', align_corners=False))
                sides.append(scorer(torch.cat(cut)))
            (first, left_features), (second, right_features) = sides
            shown = sum(logits.float().softmax(dim=1) for logits in (first, second)) / 2
            scores.append(shown.gather(1, labels[:, None].to(shown.device)).squeeze(1).cpu())
            unit = [F.normalize(features.float(), dim=1) for features in (left_features, right_features)]
            distances.append((unit[0] - unit[1]).norm(dim=1).cpu())
        found[name] = CropPairs(torch.cat(scores), torch.cat(distances))
    return found


def score_by_distance(found: dict[str, CropPairs], num_bins: int = 8) -> dict[str, list[dict]]:
    """Mean class score, with its standard error, in bins of distance that hold as many pairs each, of all ways pooled.

    Returns:
        way -> dict(distance=(from, to), n, score, error); a bin with fewer than two pairs is left out.
    """
    pooled = torch.cat([pairs.distances for pairs in found.values()])
    edges = torch.quantile(pooled, torch.linspace(0, 1, num_bins + 1, dtype=pooled.dtype))
    rows: dict[str, list[dict]] = {}
    for name, pairs in found.items():
        bins = torch.bucketize(pairs.distances, edges[1:-1])
        rows[name] = []
        for place in range(num_bins):
            scores = pairs.scores[bins == place]
            if len(scores) > 1:
                error = float(scores.std() / len(scores) ** 0.5)
                span = edges[place : place + 2].tolist()
                rows[name].append(dict(distance=span, n=len(scores), score=float(scores.mean()), error=error))
    return rows
