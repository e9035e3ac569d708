"""SimCLR at a scale of seconds, for matrices of many runs: scenes of 48 pixels, views of 32, a small ResNet."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from mmengine import Config
from mmengine.logging import MMLogger
from torch import Tensor

from viewplug.batch_views.view import View
from viewplug.datasets import ShapeScenes
from viewplug.evaluation.logistic import probe_accuracy
from viewplug.frameworks import Siamese
from viewplug.necks.mlp import pooled
from viewplug.run.demo_data import SCENES, VIEW_SIZE

ROOT = Path(__file__).resolve().parents[1]
MEAN, STD = 120.0, 60.0
CROP = dict(type='RandomResizedCrop', scale=VIEW_SIZE, crop_ratio_range=(0.2, 1.0), backend='pillow')
WHOLE = dict(type='Resize', scale=VIEW_SIZE, backend='pillow')
COMMON = View([CROP])
HIDDEN, EMBEDDING = 64, 64
# A stem of stride 4: a step costs an eighth of the demo's network, and a matrix of runs fits into an hour.
BACKBONE = dict(
    type='mmpretrain.ResNet',
    depth=18,
    stem_channels=16,
    base_channels=16,
    num_stages=3,
    strides=(1, 2, 2),
    dilations=(1, 1, 1),
    out_indices=(0, 1, 2),
    zero_init_residual=False,
)


@dataclass
class Images:
    """uint8 images (N, 3, H, W), BGR, and their classes (N,)."""

    pixels: Tensor
    labels: Tensor

    @classmethod
    def scenes(cls, split: str, number: int) -> Images:
        dataset = ShapeScenes(**{key: value for key, value in SCENES.items() if key != 'type'}, split=split)
        scenes = [dataset.render(index) for index in range(number)]
        pixels = np.stack([scene.image[..., ::-1].transpose(2, 0, 1) for scene in scenes])
        labels = [dataset.renderer.layout.label(index) for index in range(number)]
        return cls(torch.from_numpy(pixels.copy()), torch.tensor(labels))


@dataclass
class Run:
    """A trained (or untrained) network and how long it took."""

    model: Siamese
    steps: int
    seconds: float
    loss: float


def build(neck: dict | None = None, seed: int = 0) -> Siamese:
    """SimCLR as configs/_base_/simclr_r18_32px.py has it, with a small backbone."""
    MMLogger.get_current_instance().setLevel('WARNING')  # or the initialisation of every layer is told
    torch.manual_seed(seed)
    cfg = Config.fromfile(ROOT / 'configs/_base_/simclr_r18_32px.py').model
    cfg.backbone = BACKBONE
    branch = cfg.branches.image
    branch.neck = neck or dict(branch.neck, hidden_channels=HIDDEN, out_channels=EMBEDDING)
    cfg.pop('type')
    model = Siamese(**cfg)
    model.init_weights()
    return model


def train(
    model: Siamese,
    images: Tensor,
    branches: Sequence[Sequence[View]],
    steps: int,
    batch_size: int = 64,
    lr: float = 0.06,
    most_seconds: float = float('inf'),
    seed: int = 0,
    common: View | None = COMMON,
) -> Run:
    """SGD with a cosine from ``lr`` to 0 over ``steps``.

    Args:
        branches: for each of the two views what is applied, one after the other, behind ``common``.
        most_seconds: stop before ``steps`` when this is over.
        common: the same of both views; None leaves the whole images.
    """
    begin = time.time()
    generator = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.SGD(model.parameters(), lr=lr, momentum=0.9, weight_decay=5e-4)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    losses = []
    model.train()
    for _ in range(steps):
        if time.time() - begin > most_seconds:
            break
        chosen = torch.randint(len(images), (batch_size,), generator=generator)
        base = common(images[chosen], generator=generator)[0] if common else images[chosen]
        views = []
        for operators in branches:
            view = base.clone()
            for operator in operators:
                view = operator(view, generator=generator)[0]
            views.append(normalised(view))
        loss = model.loss(views)['image.loss']
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        losses.append(loss.item())
    return Run(model, len(losses), time.time() - begin, float(np.mean(losses[-20:])))


def linear_top1(model: Siamese, train_images: Images, val_images: Images) -> float:
    """Logistic regression on the frozen backbone's pooled features of whole images, top-1 in percent."""
    features = [representations(model, images.pixels) for images in (train_images, val_images)]
    return probe_accuracy(features[0], train_images.labels, features[1], val_images.labels)


@torch.no_grad()
def representations(model: Siamese, pixels: Tensor) -> Tensor:
    """h of whole images: (N, 3, H, W) uint8 -> (N, D)."""
    model.eval()
    whole = View([WHOLE])
    return torch.cat([pooled(model.backbone(normalised(whole(part)[0]))) for part in pixels.split(250)])


def normalised(view: Tensor) -> Tensor:
    return view.flip(1).float().sub_(MEAN).div_(STD)
