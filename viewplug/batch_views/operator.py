"""What every batched operator is, and how the chance of applying it is taken per sample."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

Params = dict[str, Any]
"""Tensors whose first dimension is the sample's, in dicts and lists at will; on the CPU."""


class Operator:
    """One step of a view, for a whole batch with parameters per sample.

    ``draw`` takes all random numbers, on the CPU, so that every device makes the same view. ``apply`` takes none: with
    parameters of one's own it is a plain function. It has two parts, because a CPU works on a few samples at a time:
    ``prepare``, once for the whole batch, and ``run``.

    Attributes:
        prob: chance that a sample is changed at all; taken by ``draw_gated``, not by ``draw`` or ``apply``.
        mirrors: whether mirroring before the step gives the same images as mirroring after it.
    """

    prob: float = 1.0
    mirrors: bool = True

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
        return self.run(images, **self.prepare(**params))

    def sort_key(self, prepared: Params) -> Tensor | None:
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

    def run(self, images: Tensor, steps: list[Params]) -> Tensor:
        for step, prepared in zip(self.transforms, steps, strict=True):
            images = run_gated(step, images, prepared)
        return images

    def sort_key(self, prepared: Params) -> Tensor | None:
        return first_sort_key(self.transforms, prepared['steps'])


def draw_gated(step: Operator, n: int, generator: torch.Generator | None = None) -> Params:
    """``step.draw`` and, if the step has a chance to be skipped, ``chosen`` (n,) bool."""
    params = step.draw(n, generator)
    if step.prob < 1:
        params['chosen'] = torch.rand(n, generator=generator) < step.prob
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
    index = chosen.nonzero().flatten()
    if len(index) == len(chosen):
        return step.run(images, **prepared)
    if len(index) == 0:
        return images
    index_there = to_device(index, images.device)
    changed = step.run(images.index_select(0, index_there), **select(prepared, index))
    return images.index_copy_(0, index_there, changed)


def first_sort_key(steps: list[Operator], prepared: list[Params]) -> Tensor | None:
    """The sort key of the first step that has one; samples that skip it come last."""
    for step, params in zip(steps, prepared, strict=True):
        key = step.sort_key(params)
        if key is not None:
            return key.masked_fill(~params['chosen'], torch.iinfo(key.dtype).max) if 'chosen' in params else key
    return None


def select(params: Any, index: Tensor | slice) -> Any:
    """The parameters of some samples: ``index`` applied to every tensor of nested dicts and lists."""
    if isinstance(params, dict):
        return {key: select(value, index) for key, value in params.items()}
    if isinstance(params, list):
        return [select(value, index) for value in params]
    return params[index]


def to_device(tensor: Tensor, device: torch.device | str) -> Tensor:
    """A small CPU tensor on the images' device, without waiting for the device."""
    if tensor.device.type == 'cpu' and torch.device(device).type == 'cuda':
        return tensor.pin_memory().to(device, non_blocking=True)
    return tensor.to(device)


def check_prob(name: str, prob: float) -> float:
    """``prob``, if it is one."""
    if not 0 <= prob <= 1:
        raise ValueError(f'{name}: prob must lie in [0, 1], got {prob}')
    return float(prob)
