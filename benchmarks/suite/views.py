"""Two augmented views of images that lie in memory, to a normalised float batch on the device; one core, no workers.

MoCo v2's augmentation, of the same strength for all (crop of 0.2 to 1 of the area; with probability 0.8 jitter of
brightness, contrast, saturation by 0.4 and hue by 0.1; grey 0.2; at 224 px blur 0.5, deviation 0.1 to 2 px; flip 0.5),
in the order that each library has it. Images are synthetic photographs (smooth noise with grain) as uint8, in the form
that each library keeps them in: (H, W, 3) arrays, BGR for OpenMMLab; tensors (3, H, W) for torchvision's v2 and
`InMemoryDataset`. Everybody does all of look-up, crop and resize (bilinear, antialiased), colour, blur, flip,
conversion, collation, copy to the device and normalisation. Those that work sample by sample collate batches of 128
(32 px), 64 or 16 (224 px); kornia has such batches at once (on a GPU BatchViews' first).

What differs: kornia's crops are not antialiased, which is less work. The blur is Pillow's (three box filters) in
viewplug's pipeline by samples, mmpretrain, lightly, and torchvision on PIL images, as in MoCo's own code; v2's and
kornia's is a Gaussian of 17 x 17 taps, four deviations of the strongest to either side (SimCLR's rule, a tenth of the
view, would be 23); that of BatchViews is a separable Gaussian, cut off at four of its own. BatchViews and kornia do
not round to whole numbers between steps.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from .contest import Contest, Contestant, Setting
from .view_pipelines import lightly_views, mmpretrain_views, torchvision_views, v2_views, viewplug_views
from .views_in_batch import batch_views, kornia_views

Views = Sequence[Tensor]


@dataclass(frozen=True)
class Work:
    """
    Attributes:
        key: of the contest.
        height, width: of the images.
        size: of the views.
        blur: whether views are blurred.
        images: how many lie in memory.
        batch: images per call of those that work sample by sample.
        batches: images per call of BatchViews on a CPU; four times as many on a GPU.
    """

    key: str
    height: int
    width: int
    size: int
    blur: bool
    images: int
    batch: int
    batches: Sequence[int]


WORKS = (
    Work('32', 32, 32, 32, False, 2048, 128, (128, 512)),
    Work('64', 96, 96, 64, False, 512, 64, (64,)),
    Work('96', 96, 96, 96, False, 512, 64, (64,)),
    Work('224', 375, 500, 224, True, 64, 16, (16, 32)),
)
TOYS = (Work('32', 32, 32, 32, False, 16, 8, (8, 16)), Work('224', 48, 64, 40, True, 8, 4, (4,)))


def contests(setting: Setting) -> list[Contest]:
    return [_contest(work, setting) for work in (TOYS if setting.quick else WORKS)]


def _contest(work: Work, setting: Setting) -> Contest:
    batches = [batch * (4 if setting.device == 'cuda' else 1) for batch in work.batches]
    number = max(work.images, *batches)
    photos: list[np.ndarray] = []

    def entrant(name: str, make: Callable, batch: int, ours: bool = False) -> Contestant:
        def build():
            if not photos:
                photos.append(photographs(number, work.height, work.width))
            return Loop(make(photos[0], work.size, work.blur, setting.device), number, batch)

        return Contestant(name, build, 2 * batch, batch, ours)

    return Contest(
        work.key,
        f'{work.size} px from {work.width} x {work.height}' + (', blur' if work.blur else ''),
        'views',
        [
            entrant('viewplug, sample by sample', viewplug_views, work.batch, True),
            *(entrant(f'viewplug.BatchViews, batch {batch}', batch_views, batch, True) for batch in batches),
            entrant('mmpretrain', mmpretrain_views, work.batch),
            entrant('torchvision, PIL', torchvision_views, work.batch),
            entrant('torchvision, v2 tensors', v2_views, work.batch),
            entrant('lightly', lightly_views, work.batch),
            entrant('kornia', kornia_views, batches[0]),
        ],
        seconds=0 if setting.quick else 28,
        threads=1,
    )


class Loop:
    """Hands shuffled indices to a pipeline, a batch a call, epoch after epoch.

    Args:
        pipeline: indices -> both views, (N, 3, s, s) each.
        images: how many there are.
        batch: how many a call takes.
    """

    def __init__(self, pipeline: Callable[[Sequence[int]], Views], images: int, batch: int) -> None:
        self.pipeline, self.images, self.batch = pipeline, images, batch
        self.random = np.random.RandomState(0)
        self.left: list[int] = []

    def __call__(self) -> Views:
        if len(self.left) < self.batch:
            self.left = self.random.permutation(self.images).tolist()
        now, self.left = self.left[: self.batch], self.left[self.batch :]
        return self.pipeline(now)


def photographs(number: int, height: int, width: int, seed: int = 0) -> np.ndarray:
    """Smooth noise with some grain: (N, H, W, 3) uint8, RGB."""
    random = torch.Generator().manual_seed(seed)
    images = np.empty((number, height, width, 3), np.uint8)
    for image in images:
        smooth = F.interpolate(torch.rand(1, 3, 6, 8, generator=random), (height, width), mode='bicubic')[0]
        grain = torch.randn(3, height, width, generator=random)
        image[:] = (255 * smooth + 8 * grain).clamp(0, 255).byte().permute(1, 2, 0).numpy()
    return images
