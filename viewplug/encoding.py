"""Views through a backbone and the branches' necks: each branch gets the part of the output that it reads."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from itertools import groupby

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from viewplug.devices import to_device
from viewplug.ops.gradient_cache import in_parts
from viewplug.requests import Reads, Request

Embeddings = dict[int, dict[str, Tensor]]
"""View -> branch -> (rows, D)."""

WATCHED = '.watched'
"""What to watch in place of a branch's embedding lies under its name and this."""

Group = tuple[Tensor, Request]
"""Images (N, 3, H, W) that go through the network together, and what is asked of them."""


def encode(
    backbone: nn.Module, necks: Mapping[str, nn.Module], reads: Mapping[str, Reads], groups: Sequence[Group]
) -> list[list[dict[str, Tensor]]]:
    """A forward of the backbone for each group (images (N, 3, H, W), what is asked of them), then the necks.

    A neck whose ``rows_apart`` is true treats each row by itself, and gets the rows of all groups and branches at once:
    its weights are read, and their gradient is made, once for all of them (as in DINO's code). Others are called for
    each, before the next forward, so that what they read (maps) need not be kept without a gradient.

    Returns:
        For each group, for each of its views: branch -> (rows, D).
    """
    found: list[list[dict[str, Tensor]]] = [[{} for _ in range(request.views)] for _, request in groups]
    waiting: dict[str, list[tuple[int, str, Tensor]]] = {}
    for index, (images, request) in enumerate(groups):
        for name, rows in _encode_group(backbone, necks, reads, images, request, found[index]):
            waiting.setdefault(reads[name].neck, []).append((index, name, rows))
    for owner, members in waiting.items():
        sizes = [_rows_of_views(reads[name], groups[index][1], part) for index, name, part in members]
        together = torch.cat([part for *_, part in members]) if len(members) > 1 else members[0][2]
        pieces = iter(_cut(unpacked(necks[owner](together)), [size for own in sizes for size in own]))
        for (index, name, part), own in zip(members, sizes, strict=True):
            _put(found[index], name, [next(pieces) for _ in own])
            _put_watched(found[index], name, necks[owner], part, reads[name], groups[index][1])
    return found


def encode_views(
    encode_groups: Callable[[Sequence[Group]], Sequence[Sequence[dict[str, Tensor]]]],
    reads: Mapping[str, Reads],
    inputs: Sequence[Tensor],
    requests: Mapping[int, Request],
    joint: bool,
    rows: int | None = None,
    network: nn.Module | None = None,
) -> Embeddings:
    """``encode_groups`` of all views, each a group, or, if ``joint``, neighbouring ones of one size and kind together.

    Args:
        rows: encode this many images at a time, with all their views, and keep no activations of ``network``
            (``viewplug.ops.gradient_cache``). None, or as many as there are: all at once.
    """
    if rows is not None and any(len(inputs[view]) > rows for view in requests):
        return _encode_in_parts(encode_groups, reads, inputs, requests, joint, rows, network)
    members = [
        list(group)
        for _, group in groupby(requests, key=lambda view: (inputs[view].shape, requests[view].kind) if joint else view)
    ]
    groups = [
        (torch.cat([inputs[view] for view in views]), _joined([requests[view] for view in views]))
        if len(views) > 1
        else (inputs[views[0]], requests[views[0]])
        for views in members
    ]
    encoded: Embeddings = {}
    for views, found in zip(members, encode_groups(groups), strict=True):
        encoded.update(zip(views, found, strict=True))
    return encoded


def _encode_in_parts(encode_groups, reads, inputs, requests, joint, rows, network) -> Embeddings:
    """Tensors of all views are cut alike; each part is put together again as views and what is asked of them."""
    flat = [tensor for view, asked in requests.items() for tensor in (inputs[view], *asked.tensors())]

    def encoded(part: Sequence[Tensor]) -> Embeddings:
        tensors, images, requested = iter(part), {}, {}
        for view, asked in requests.items():
            images[view] = next(tensors)
            requested[view] = asked.with_tensors(tensors)
        return encode_views(encode_groups, reads, images, requested, joint)

    return in_parts(encoded, flat, rows, network)


def parametrized_once(necks: Mapping[str, nn.Module]) -> AbstractContextManager:
    """While it is on, a parametrised weight (DINONeck's weight norm) is computed at its first use only.

    torch keeps them by the module that was parametrised, and takes a copy of one for it: the online side and its copy,
    the target, need a context each, and necks that are copies of each other get none.
    """
    inside = [module for neck in necks.values() for module in neck.modules() if parametrize.is_parametrized(module)]
    return parametrize.cached() if len({type(module) for module in inside}) == len(inside) else nullcontext()


def unpacked(output: Tensor | Sequence[Tensor]) -> Tensor:
    """OpenMMLab's necks return 1-tuples."""
    return output[0] if isinstance(output, tuple | list) and len(output) == 1 else output


def _joined(requests: Sequence[Request]) -> Request:
    first = requests[0]
    extras = {key: torch.cat([request.extras[key] for request in requests]) for key in first.extras}
    chosen = None if first.chosen is None else torch.cat([request.chosen for request in requests])
    return Request(first.branches, extras, chosen, len(requests))


def _encode_group(backbone, necks, reads, images, request, views: Sequence[dict]) -> list[tuple[str, Tensor]]:
    """Fill in ``views``, and return the rows of branches whose necks take those of all groups at once."""
    extras = {key: to_device(value, images.device) for key, value in request.extras.items()}
    features, waiting = backbone(images, **extras), []
    for name in request.branches:
        part, neck = _entry(features, name, reads[name], request.chosen), necks[reads[name].neck]
        if getattr(neck, 'rows_apart', False) and isinstance(part, Tensor) and part.dim() == 2:
            waiting.append((name, part))
        else:
            output = _one_tensor(unpacked(neck(part)), name, neck)
            _put(views, name, _cut(output, _rows_of_views(reads[name], request, output)))
            _put_watched(views, name, neck, part, reads[name], request)
    return waiting


def _one_tensor(output, name: str, neck: nn.Module) -> Tensor:
    if isinstance(output, Tensor):
        return output
    got = f'{len(output)} outputs' if isinstance(output, tuple | list) else f'a {type(output).__name__}'
    raise ValueError(
        f'model.branches.{name}.neck: {type(neck).__name__} must give one tensor whose first dimension are the images '
        f'(or rows of them), alone or in a 1-tuple, got {got}; join along the last dimension what the head needs'
    )


def _put(views: Sequence[dict[str, Tensor]], name: str, pieces: Sequence[Tensor]) -> None:
    for one, piece in zip(views, pieces, strict=True):
        one[name] = piece


def _put_watched(views, name: str, neck: nn.Module, part, read: Reads, request: Request) -> None:
    if hasattr(neck, 'watched'):
        rows = neck.watched(part)
        _put(views, name + WATCHED, _cut(rows, _rows_of_views(read, request, rows)))


def _rows_of_views(read: Reads, request: Request, rows) -> list[int]:
    """How many of ``rows`` belong to each view."""
    if request.views == 1:
        return [len(rows)]
    if read.masked:
        return [int(chosen.sum()) for chosen in request.chosen.chunk(request.views)]
    return [len(rows) // request.views] * request.views


def _cut(rows, sizes: Sequence[int]) -> Sequence:
    """Of one size it is left as it is, whatever the neck gave."""
    return (rows,) if len(sizes) == 1 else rows.split(sizes)


def _entry(features, name: str, read: Reads, chosen: Tensor | None):
    if not isinstance(features, Mapping):
        if read.entry != 'cls' or read.masked:
            raise ValueError(
                f'model.branches.{name} has reads={read.entry!r}, masked={read.masked}, which pick from a mapping as '
                f"viewplug.QueryViT with out='mapping' gives it, but the backbone gives a {type(features).__name__}; "
                'leave both out to read that'
            )
        return features
    found = features.get(read.entry)
    if found is None:
        given = ', '.join(key for key, value in features.items() if value is not None)
        raise ValueError(f'model.branches.{name}.reads={read.entry!r}, but the backbone gives {given}')
    if read.masked:  # found[chosen], but how many there are is known on the CPU, where masks stay
        return found.flatten(0, 1).index_select(0, to_device(chosen.flatten().nonzero().squeeze(1), found.device))
    return found.flatten(0, 1) if found.dim() == 3 else found
