"""What a built pipeline holds: transforms of a kind, however deep, and the steps that come before them."""

from __future__ import annotations

from collections.abc import Iterator
from types import FunctionType, MethodType
from typing import Any

from torch import nn


def transforms_in(pipeline: Any, kind: type) -> list:
    """All transforms of class ``kind`` inside ``pipeline``, each once, in the order of the pipeline.

    Looks into Compose, MultiView (stock and ours), RandomApply, RandomChoice, KeyMapper and whatever else keeps its
    transforms in attributes, lists or dicts.
    """
    found: list = []
    _collect(pipeline, kind, found, set())
    return found


def steps_before(pipeline: Any, kind: type) -> list:
    """The transforms that a sample passes on its way to the first one of class ``kind``, which must be in there.

    Of views that are cut side by side (MultiView), or alternatives (RandomChoice), only the first way is followed.
    Steps that make something beside the image (``beside_image``: QueryCrops, BlockMasks) are left out.
    """
    if isinstance(pipeline, kind):
        return []
    steps: list = []
    for child in _children(pipeline):
        if transforms_in(child, kind):
            return steps + steps_before(child, kind)
        if _is_sequence(pipeline) and not getattr(child, 'beside_image', False):
            steps.append(child)
    raise ValueError(f'there is no {kind.__name__} in {pipeline!r}')


def _collect(part: Any, kind: type, found: list, seen: set[int]) -> None:
    if id(part) in seen:
        return
    seen.add(id(part))
    if isinstance(part, kind):
        found.append(part)
    for child in _children(part):
        _collect(child, kind, found, seen)


def _children(part: Any) -> Iterator:
    if _is_sequence(part):
        return iter(part.transforms)
    if isinstance(part, (list, tuple)):
        return iter(part)
    if isinstance(part, dict):
        return iter(part.values())
    if callable(part) and not isinstance(part, (type, FunctionType, MethodType, nn.Module)):
        return iter(list(getattr(part, '__dict__', {}).values()))
    return iter(())


def _is_sequence(part: Any) -> bool:
    """mmengine, mmcv, mmpretrain and torchvision each have a Compose, and all keep ``transforms`` in order."""
    return type(part).__name__ == 'Compose' and isinstance(getattr(part, 'transforms', None), (list, tuple))
