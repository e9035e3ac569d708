"""Images of several sizes as one batch, or, where that is mostly padding, as several of like size."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

# Padded, a batch may take this many times the pixels of its images. Photographs, upright and lying, stay below it and
# are handled as one batch, the fastest way; one panorama among a hundred of them would take a hundred times its memory.
PADDED_AT_MOST = 4


class Group(NamedTuple):
    """Images of a batch that are padded together.

    Attributes:
        members: (n,) int64, their places in the batch, ascending.
        pixels: (n, 3, H, W), padded at the bottom and right.
    """

    members: np.ndarray
    pixels: Tensor


def padded(images: Sequence[Tensor]) -> tuple[Tensor | list[Group], Tensor | None]:
    """One batch if that takes no more than ``PADDED_AT_MOST`` times the pixels of the images, else groups that do.

    Args:
        images: N images (3, H_i, W_i) on one device.

    Returns:
        The batch (N, 3, H, W), or groups; (N, 2) int64 height and width of the images on the CPU, or None
        where all are alike.

    Raises:
        ValueError: images with different numbers of channels.
    """
    shapes = [image.shape for image in images]
    if all(shape == shapes[0] for shape in shapes):
        return torch.stack(list(images)), None
    channels = sorted({shape[0] for shape in shapes})
    if len(channels) > 1:
        raise ValueError(
            f"views='device' takes images of one number of channels, got {' and '.join(map(str, channels))}; set "
            "color_type='color' in the LoadImageFromFile of train_dataloader.dataset.pipeline"
        )
    sizes = np.array(shapes, dtype=np.int64)[:, -2:]
    groups = groups_of_like_size(sizes)
    made = [Group(members, _as_one([images[member] for member in members])) for members in groups]
    return made[0].pixels if len(made) == 1 else made, torch.from_numpy(sizes)


def groups_of_like_size(sizes: np.ndarray) -> list[np.ndarray]:
    """Cut in two, by height or by width, where that saves most, until no group is padded too much.

    Args:
        sizes: (N, 2) int64 height and width.

    Returns:
        Places of the images in the batch, ascending within a group.
    """
    done, left = [], [np.arange(len(sizes))]
    while left:
        members = left.pop()
        own = sizes[members]
        if len(members) * own.max(axis=0).prod() <= PADDED_AT_MOST * own.prod(axis=1).sum():
            done.append(members)
            continue
        orders = [own[:, axis].argsort(kind='stable') for axis in (0, 1)]
        costs = [_pixels_if_cut(own[order]) for order in orders]
        order, cost = min(zip(orders, costs, strict=True), key=lambda pair: pair[1].min())
        left += [np.sort(part) for part in np.split(members[order], [cost.argmin() + 1])]
    return done


def _pixels_if_cut(sizes: np.ndarray) -> np.ndarray:
    """(N - 1,) pixels of the two parts that (N, 2) sizes are cut into after each, padded."""
    counts = np.arange(1, len(sizes))
    first = np.maximum.accumulate(sizes).prod(axis=1)[:-1] * counts
    second = np.maximum.accumulate(sizes[::-1]).prod(axis=1)[:-1] * counts
    return first + second[::-1]


def _as_one(images: list[Tensor]) -> Tensor:
    height, width = (max(image.shape[axis] for image in images) for axis in (-2, -1))
    batch = images[0].new_zeros(len(images), len(images[0]), height, width)
    for row, image in zip(batch, images, strict=True):
        row[:, : image.shape[-2], : image.shape[-1]] = image
    return batch
