"""What every batched operator is, and how the chance of applying it is taken per sample."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from viewplug.devices import to_device

Params = dict[str, Any]
"""Arrays whose first dimension is the sample's, in dicts and lists at will.

NumPy's, because its fixed cost for arrays of this size is a third of torch's.
"""


class Operator:
    """One step of a view, for a whole batch with parameters per sample.

    ``draw`` takes all random numbers, on the CPU, so that every device makes the same view. ``apply`` takes none: with
    parameters of one's own it is a plain function. It has two parts, because a CPU works on a few samples at a time:
    ``prepare``, once for the whole batch, and ``run``.

    Attributes:
        prob: chance that a sample is changed at all; taken by ``draw_gated``, not by ``draw`` or ``apply``.
        mirrors: whether mirroring before the step gives the same distribution as mirroring after it.
        geometry: what it does to the places of pixels, as a transform says it: ``viewplug.transforms.view_record``.
    """

    prob: float = 1.0
    mirrors: bool = True
    geometry: str | None = None

    def draw(self, n: int, generator: torch.Generator | None = None) -> Params:
        """What ``apply`` takes beside the images, for ``n`` samples."""
        return {}

    def prepare(self, **params: Any) -> Params:
        """What ``run`` takes, from what ``draw`` returned."""
        return params

    def run(self, images: Tensor, **prepared: Any) -> Tensor:
        """(N, 3, h, w) float in [0, 255] -> the same kind. The memory of ``images`` may be overwritten."""
        raise NotImplementedError

    def apply(self, images: Tensor, **params: Any) -> Tensor:
        """(N, 3, h, w) float in [0, 255] -> the same kind. The memory of ``images`` may be overwritten."""
        params = {key: np.asarray(value) for key, value in params.items()}
        return self.run(images, **self.prepare(**params))

    def sort_key(self, prepared: Params) -> np.ndarray | None:
        """(N,) numbers in whose order the samples are handled fastest, None if it does not matter."""
        return None


class RandomApply(Operator):
    """mmpretrain's RandomApply: a list of operators for a random part of the batch."""

    def __init__(self, transforms: list[Operator], prob: float = 0.5) -> None:
        self.transforms = transforms
        self.prob = check_prob('RandomApply', prob)
        self.mirrors = all(step.mirrors for step in transforms)

    def draw(self, n: int, generator: torch.Generator | None = None) -> Params:
        return dict(steps=[draw_gated(step, n, generator) for step in self.transforms])

    def prepare(self, steps: list[Params]) -> Params:
        return dict(steps=[prepare_gated(*pair) for pair in zip(self.transforms, steps, strict=True)])

    def apply(self, images: Tensor, steps: list[Params]) -> Tensor:
        return self.run(images, **self.prepare(steps))

    def run(self, images: Tensor, steps: list[Params]) -> Tensor:
        for step, prepared in zip(self.transforms, steps, strict=True):
            images = run_gated(step, images, prepared)
        return images

    def sort_key(self, prepared: Params) -> np.ndarray | None:
        return first_sort_key(self.transforms, prepared['steps'])


def draw_gated(step: Operator, n: int, generator: torch.Generator | None = None) -> Params:
    """``step.draw`` and, if the step has a chance to be skipped, ``chosen`` (n,) bool."""
    params = step.draw(n, generator)
    if step.prob < 1:
        params['chosen'] = uniform(n, generator) < step.prob
    return params


def prepare_gated(step: Operator, params: Params) -> Params:
    """``step.prepare`` of what ``draw_gated`` returned."""
    chosen = {'chosen': params['chosen']} if 'chosen' in params else {}
    return {**step.prepare(**{key: value for key, value in params.items() if key != 'chosen'}), **chosen}


def run_gated(step: Operator, images: Tensor, prepared: Params) -> Tensor:
    """``step.run`` for the samples that were chosen for it; the others stay what they are."""
    prepared = dict(prepared)
    chosen = prepared.pop('chosen', None)
    if chosen is None:
        return step.run(images, **prepared)
    index = np.flatnonzero(chosen)
    if index.size == chosen.size:
        return step.run(images, **prepared)
    if index.size == 0:
        return images
    if index[-1] - index[0] + 1 == index.size:  # in a row: no need to gather them
        part = slice(int(index[0]), int(index[-1]) + 1)
        there = images[part]
        changed = step.run(there, **select(prepared, part))
        if changed.data_ptr() != there.data_ptr():
            there.copy_(changed)
        return images
    there = images.index_select(0, to_device(index, images.device))
    return put_rows(images, index, step.run(there, **select(prepared, index)))


def first_sort_key(steps: list[Operator], prepared: list[Params]) -> np.ndarray | None:
    """The sort key of the first step that has one; samples that skip it come last."""
    for step, params in zip(steps, prepared, strict=True):
        key = step.sort_key(params)
        if key is not None:
            return np.where(params['chosen'], key, np.inf) if 'chosen' in params else key
    return None


def select(params: Any, index: np.ndarray | slice) -> Any:
    """The parameters of some samples: ``index`` applied to every array of nested dicts and lists."""
    if isinstance(params, dict):
        return {key: select(value, index) for key, value in params.items()}
    if isinstance(params, list):
        return [select(value, index) for value in params]
    return params[index]


def joined(params: Sequence[Any]) -> Any:
    """The parameters of several batches as those of one: every array of nested dicts and lists joined."""
    first = params[0]
    if len(params) == 1:
        return first
    if isinstance(first, dict):
        return {key: joined([other[key] for other in params]) for key in first}
    if isinstance(first, list):
        return [joined(column) for column in zip(*params, strict=True)]
    return np.concatenate(params)


def uniform(n: int, generator: torch.Generator | None = None) -> np.ndarray:
    """(n,) float32 in [0, 1)."""
    return torch.rand(n, generator=generator).numpy()


def put_rows(images: Tensor, index: np.ndarray, rows: Tensor) -> Tensor:
    """``images[index] = rows`` in place, (N, ...) and (n, ...). On a CPU NumPy is seven times as fast as torch."""
    if images.device.type == 'cpu':
        images.numpy()[index] = rows.numpy()
        return images
    return images.index_copy_(0, to_device(index, images.device), rows)


def check_prob(name: str, prob: float) -> float:
    """``prob``, if it is one."""
    if not 0 <= prob <= 1:
        raise ValueError(f'{name}: prob must lie in [0, 1], got {prob}')
    return float(prob)


def channel_values(name: str, value: float | Sequence[float]) -> Tensor:
    """``pad_val``, one number or one for each channel as the images hold them, as (3, 1, 1)."""
    values = torch.tensor(value, dtype=torch.float32).flatten()
    if len(values) not in (1, 3):
        raise ValueError(f'{name}: pad_val must be one number or three, got {value}')
    return values.expand(3)[:, None, None]
