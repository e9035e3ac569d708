"""ContrastiveCrop's update: one box an image from the network's last maps, against numpy and scipy image by image.

Both do what the paper says (sec. 3.2 and eq. 2): sum over channels, min-max, bilinear up-sampling to the size of the
input, threshold, the rectangle around what is above it. The forward of the second contest is batched for both.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from .contest import Contest, Contestant, Setting

# The paper's is 0.1, at which a network with random weights sees the whole image. It does not change the cost.
THRESHOLD = 0.5


def contests(setting: Setting) -> list[Contest]:
    n, channels, size = (8, 8, 128) if setting.quick else (64, 2048, 224)
    images = 4 if setting.quick else 16
    seconds = 0 if setting.quick else 10

    def entrant(name: str, build: Callable, number: int, ours: bool = False) -> Contestant:
        return Contestant(name, build, number, number, ours)

    def maps() -> Tensor:
        return object_maps(n, channels, size // 32).to(setting.device)

    return [
        Contest(
            'boxes',
            f'boxes of {n} maps {channels} x {size // 32} x {size // 32}, {size} px',
            'images',
            [
                entrant('viewplug', lambda: BoxesOfMaps(in_batch, maps(), size), n, True),
                entrant('numpy, scipy', lambda: BoxesOfMaps(one_by_one(), maps(), size), n),
            ],
            seconds,
        ),
        Contest(
            'forward_and_boxes',
            f'forward of ResNet-18 at {size} px, boxes of {images} images',
            'images',
            [
                entrant('viewplug', lambda: whole_update(images, size, setting), images, True),
                entrant('numpy, scipy', lambda: plain_update(images, size, setting), images),
            ],
            2 * seconds,
        ),
    ]


def object_maps(number: int, channels: int, side: int) -> Tensor:
    """Feature maps (N, C, side, side) that fire around one place an image, and a little everywhere."""
    random = torch.Generator().manual_seed(0)
    places = torch.rand(number, 2, generator=random)
    axis = (torch.arange(side) + 0.5) / side
    near = [torch.exp(-(((axis - place[:, None]) / 0.2) ** 2)) for place in places.unbind(1)]
    blobs = near[1][:, None, :, None] * near[0][:, None, None, :]
    return blobs * torch.rand(number, channels, 1, 1, generator=random) + 0.05 * torch.rand(
        number, channels, side, side, generator=random
    )


class BoxesOfMaps:
    """Boxes (N, 4), as fractions of the image, of the same feature maps at every call."""

    def __init__(self, localise: Callable[[Tensor, int], Tensor], features: Tensor, size: int) -> None:
        self.localise, self.features, self.size = localise, features, size

    def __call__(self) -> Tensor:
        return self.localise(self.features, self.size)


def in_batch(features: Tensor, size: int) -> Tensor:
    from viewplug.ops import channel_sum, localise

    return localise(channel_sum(features), (size, size), THRESHOLD).boxes


def one_by_one() -> Callable[[Tensor, int], Tensor]:
    """The plain version."""
    from scipy.ndimage import zoom

    def box_of(features: np.ndarray, size: int) -> list[float]:
        heatmap = features.sum(axis=0)
        heatmap = (heatmap - heatmap.min()) / (heatmap.max() - heatmap.min())
        scale = size / heatmap.shape[0], size / heatmap.shape[1]
        inside = zoom(heatmap, scale, order=1, mode='nearest', grid_mode=True) > THRESHOLD
        rows, columns = np.flatnonzero(inside.any(axis=1)), np.flatnonzero(inside.any(axis=0))
        return [columns[0] / size, rows[0] / size, (columns[-1] + 1) / size, (rows[-1] + 1) / size]

    def boxes(features: Tensor, size: int) -> Tensor:
        return torch.tensor([box_of(image, size) for image in features.cpu().numpy()], dtype=torch.float32)

    return boxes


def whole_update(images: int, size: int, setting: Setting) -> Callable[[], Tensor]:
    from viewplug.evaluation.localization import localise_batches

    model, pictures = _network(setting), _pictures(images, size)
    batches = [(pictures, torch.ones(images, dtype=torch.bool))]

    def update() -> Tensor:
        (batch,) = localise_batches(model, batches, THRESHOLD, heatmap='features')
        return batch.found.boxes

    return update


def plain_update(images: int, size: int, setting: Setting) -> Callable[[], Tensor]:
    model, pictures, boxes = _network(setting), _pictures(images, size), one_by_one()

    @torch.no_grad()
    def update() -> Tensor:
        model.backbone.eval()
        inputs = model.data_preprocessor(dict(inputs=pictures, data_samples=None), False)['inputs']
        features = model.backbone(inputs)[-1]
        model.backbone.train()
        return boxes(features, size)

    return update


def _network(setting: Setting) -> torch.nn.Module:
    """ResNet-18 with random weights and the normalisation of ImageNet."""
    from mmpretrain.models.backbones import ResNet
    from mmpretrain.models.utils.data_preprocessor import SelfSupDataPreprocessor

    from .view_pipelines import MEAN, STD

    torch.manual_seed(0)
    model = torch.nn.Module()
    width = dict(stem_channels=8, base_channels=8) if setting.quick else {}
    model.backbone = ResNet(18, **width)
    model.data_preprocessor = SelfSupDataPreprocessor(mean=MEAN, std=STD, to_rgb=True)
    model.data_preprocessor.to(setting.device)  # mmengine's must be told itself where to put images
    return model.to(setting.device)


def _pictures(number: int, size: int) -> Tensor:
    """(N, 3, H, W) uint8."""
    from .views import photographs

    return torch.from_numpy(photographs(number, size, size)).permute(0, 3, 1, 2).contiguous()
