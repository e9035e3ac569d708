"""What a representation still knows of a transformation: SimCLR's Table 3."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from viewplug.batch_views.steps import build_operator
from viewplug.encoding import unpacked
from viewplug.evaluation.logistic import probe_accuracy
from viewplug.necks.mlp import pooled


@dataclass(frozen=True)
class Task:
    """One row of Table 3.

    Args:
        title: as the paper has it.
        operator: config of a batch operator.
        share: of the images that it changes; None has every image turned by one of four angles, the class.
        paper: random guess, h and g(h) there, percent.
    """

    title: str
    operator: dict
    share: float | None
    paper: tuple[float, float, float]


TASKS = dict(
    color=Task(
        'colour vs greyscale', dict(type='RandomGrayscale', prob=1.0, keep_channels=True), 0.2, (80, 99.3, 97.4)
    ),
    rotation=Task('rotation', dict(type='QuarterTurn', turns=(0, 1, 2, 3), prob=1.0), None, (25, 67.6, 25.6)),
    noise=Task(
        'original vs corrupted',
        dict(type='GaussianNoise', magnitude_range=(0, 50), magnitude_std='inf', prob=1.0),
        0.5,
        (50, 99.5, 59.6),
    ),
    sobel=Task('original vs Sobel filtered', dict(type='Sobel', prob=1.0), 0.5, (50, 96.6, 56.3)),
)
"""Four of five pre-training views keep their colours, hence the 80 of a random guess."""


def transformed(task: Task, images: Tensor, generator: torch.Generator | None = None) -> tuple[Tensor, Tensor]:
    """(N, 3, H, W) uint8 or float in [0, 255] -> the same as float, some of them changed; which, (N,) int64."""
    images = images.float().clone()
    operator = build_operator(task.operator)
    params = operator.draw(len(images), generator)
    if task.share is None:
        return operator.apply(images, **params), torch.from_numpy(np.asarray(params['turns'])).long()
    chosen = torch.rand(len(images), generator=generator) < task.share
    changed = operator.apply(images.clone(), **params)
    return torch.where(chosen.to(images.device)[:, None, None, None], changed, images), chosen.long()


@torch.no_grad()
def representations(
    model: nn.Module, images: Tensor, neck: nn.Module | None = None, batch_size: int = 128
) -> tuple[Tensor, Tensor | None]:
    """h, the pooled last output of ``model.backbone``, and g(h), what ``neck`` makes of the outputs; (N, D) each.

    Args:
        model: with a ``backbone`` and perhaps a ``data_preprocessor``.
        images: (N, 3, H, W) in [0, 255], as the preprocessor wants them.
    """
    modes = {module: module.training for module in model.modules()}
    device = next(model.backbone.parameters()).device
    preprocess = getattr(model, 'data_preprocessor', None)
    found: list[tuple[Tensor, ...]] = []
    model.eval()
    try:
        for part in images.split(batch_size):
            if preprocess is not None:
                part = preprocess(dict(inputs=part, data_samples=None), False)['inputs']
                part = part[0] if isinstance(part, list | tuple) else part
            features = model.backbone(part.to(device))
            outputs = [pooled(features)] + ([] if neck is None else [unpacked(neck(features))])
            found.append(tuple(output.float().cpu() for output in outputs))
    finally:
        for module, mode in modes.items():
            module.training = mode
    columns = [torch.cat(column) for column in zip(*found, strict=True)]
    return columns[0], columns[1] if neck is not None else None


def probe_invariances(
    model: nn.Module,
    train_images: Tensor,
    images: Tensor,
    neck: nn.Module | None = None,
    tasks: tuple[str, ...] = tuple(TASKS),
    probe: str = 'logistic',
    seed: int = 0,
    report: Callable[[dict], None] = lambda row: None,
) -> list[dict]:
    """Fit a probe for each task on changed ``train_images`` and try it on changed ``images``.

    Returns:
        Per task: ``task``, ``title``, ``guess`` (the commonest class of the tried images), ``h`` and, with a ``neck``,
        ``gh``, percent, and ``paper``.

    Raises:
        ValueError: a task that is not in :data:`TASKS`.
    """
    unknown = [name for name in tasks if name not in TASKS]
    if unknown:
        raise ValueError(f'--tasks are some of {", ".join(TASKS)}, got {", ".join(unknown)}')
    rows = []
    for name in tasks:
        generator = torch.Generator().manual_seed(seed)
        changed, labels = transformed(TASKS[name], train_images, generator)
        tried, truth = transformed(TASKS[name], images, generator)
        fitted, found = representations(model, changed, neck), representations(model, tried, neck)
        row = dict(task=name, title=TASKS[name].title, guess=100 * float(truth.bincount().max()) / len(truth))
        for key, known, new in zip(('h', 'gh'), fitted, found, strict=True):
            if known is not None:
                row[key] = probe_accuracy(known, labels, new, truth, probe)
        row['paper'] = list(TASKS[name].paper)
        report(row)
        rows.append(row)
    return rows
