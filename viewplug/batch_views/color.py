"""Colour jitter and grayscale for whole batches."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from viewplug.devices import to_device

from .hue import rotate_hue
from .operator import Operator, Params, check_prob, put_rows, uniform

GRAY_WEIGHTS_BGR = (0.114, 0.587, 0.299)
"""ITU-R BT.601 luma, what Pillow and OpenCV call gray, for blue, green, red."""

_BRIGHTNESS, _CONTRAST, _SATURATION, _HUE = range(4)


class ColorJitter(Operator):
    """mmpretrain's ColorJitter: brightness, contrast, saturation and hue, in an order drawn for each sample.

    Brightness, contrast and saturation blend the image with black, with its
    mean gray and with its own gray, all clamped to [0, 255]; values are not cut down to whole numbers in between, as
    Pillow does.

    Args:
        brightness, contrast, saturation: range (low, high) of the factor, or v for (max(0, 1 - v), 1 + v).
        hue: range of the shift in parts of a turn, within [-0.5, 0.5], or v for (-v, v).
        backend: 'pillow' or 'cv2', which differ by rounding only; accepted so that configs move over.
        color_format: 'bgr' (as mmcv takes images to be) or 'rgb'.
    """

    def __init__(
        self,
        brightness: float | Sequence[float] = 0.0,
        contrast: float | Sequence[float] = 0.0,
        saturation: float | Sequence[float] = 0.0,
        hue: float | Sequence[float] = 0.0,
        backend: str = 'pillow',
        color_format: str = 'bgr',
    ) -> None:
        self.color_format = check_color_format('ColorJitter', color_format)
        self.ranges = dict(
            brightness=_factor_range('brightness', brightness, 1.0, (0.0, float('inf'))),
            contrast=_factor_range('contrast', contrast, 1.0, (0.0, float('inf'))),
            saturation=_factor_range('saturation', saturation, 1.0, (0.0, float('inf'))),
            hue=_factor_range('hue', hue, 0.0, (-0.5, 0.5)),
        )

    def draw(self, n: int, generator: torch.Generator | None = None) -> Params:
        params = dict(order=torch.rand(n, 4, generator=generator).numpy().argsort(axis=1))
        for name, limits in self.ranges.items():
            if limits is not None:
                params[name] = limits[0] + uniform(n, generator) * (limits[1] - limits[0])
        return params

    def prepare(
        self,
        order: np.ndarray,
        brightness: np.ndarray | None = None,
        contrast: np.ndarray | None = None,
        saturation: np.ndarray | None = None,
        hue: np.ndarray | None = None,
    ) -> Params:
        """
        Args:
            order: (N, 4) permutations of 0 brightness, 1 contrast, 2 saturation, 3 hue.
            brightness, contrast, saturation, hue: (N,) factors; None leaves that step out.
        """
        factors = {_BRIGHTNESS: brightness, _CONTRAST: contrast, _SATURATION: saturation}
        factors = {kind: factor for kind, factor in factors.items() if factor is not None}
        kinds, before = _blends_around_hue(order, list(factors), hue is not None)
        rgb = self.color_format == 'rgb'
        matrices, means = _blend_maps(kinds, factors, GRAY_WEIGHTS_BGR[::-1] if rgb else GRAY_WEIGHTS_BGR)
        if hue is not None and rgb:  # the circle of hues runs the other way round
            hue = -hue
        return dict(matrices=matrices, means=means, before=before, **({} if hue is None else dict(hue=hue)))

    def run(
        self,
        images: Tensor,
        matrices: np.ndarray,
        means: np.ndarray,
        before: np.ndarray,
        hue: np.ndarray | None = None,
    ) -> Tensor:
        # In samples sorted by how many blends come before the hue, the k-th blend is due before the hue for a first
        # part and after it for the rest, and the hue is turned once for all.
        if (before[1:] > before[:-1]).any():
            rank = np.argsort(-before)
            there = to_device(rank, images.device)
            hue = None if hue is None else hue[rank]
            changed = self.run(images.index_select(0, there), matrices[rank], means[rank], before[rank], hue)
            return put_rows(images, rank, changed)
        matrices, means = to_device(matrices, images.device), to_device(means, images.device)
        counts = [int((before > slot).sum()) for slot in range(matrices.shape[1])]
        for slot, count in enumerate(counts):
            if count:
                _blend(images[:count], matrices[:count, slot], means[:count, slot])
        if hue is None:
            return images
        images = rotate_hue(images, to_device(hue, images.device))
        for slot, count in enumerate(counts):
            if count < before.size:
                _blend(images[count:], matrices[count:, slot], means[count:, slot])
        return images

    def sort_key(self, prepared: Params) -> np.ndarray:
        return -prepared['before']


class RandomGrayscale(Operator):
    """mmcv's RandomGrayscale with ``keep_channels=True``.

    Args:
        prob: chance that a sample is made gray.
        keep_channels: must be True, since a batch has one number of channels.
        channel_weights: of the three channels as the images hold them; normalised to sum 1.
        color_format: 'bgr' or 'rgb'; says nothing that the weights do not, as in mmcv.
    """

    def __init__(
        self,
        prob: float = 0.1,
        keep_channels: bool = False,
        channel_weights: Sequence[float] = (1.0, 1.0, 1.0),
        color_format: str = 'bgr',
    ) -> None:
        if not keep_channels:
            raise ValueError('RandomGrayscale: views cut in batch need keep_channels=True, got False')
        if len(channel_weights) != 3 or not sum(channel_weights) > 0:
            raise ValueError(
                f'RandomGrayscale: channel_weights must be three numbers of a positive sum, got {channel_weights}'
            )
        check_color_format('RandomGrayscale', color_format)
        self.prob = check_prob('RandomGrayscale', prob)
        self.weights = torch.tensor(channel_weights) / sum(channel_weights)

    def run(self, images: Tensor) -> Tensor:
        gray = torch.matmul(to_device(self.weights, images.device), images.flatten(2))
        return images.copy_(gray.view(len(images), 1, *images.shape[2:]))


def check_color_format(step: str, color_format: str) -> str:
    if color_format not in ('bgr', 'rgb'):
        raise ValueError(f"{step}: color_format must be 'bgr' or 'rgb', got {color_format!r}")
    return color_format


def _factor_range(
    name: str, value: float | Sequence[float], centre: float, bounds: tuple[float, float]
) -> tuple[float, float] | None:
    """(low, high), or None where the step would change nothing."""
    if isinstance(value, (int, float)):
        if value < 0:
            raise ValueError(f'ColorJitter: {name} must not be negative if it is one number, got {value}')
        value = (centre - value, centre + value)
    if len(value) != 2 or value[0] > value[1]:
        raise ValueError(f'ColorJitter: {name} must be a number or (low, high) with low <= high, got {value}')
    low, high = (min(max(float(limit), bounds[0]), bounds[1]) for limit in value)
    return None if low == high == centre else (low, high)


def _blends_around_hue(order: np.ndarray, kinds: list[int], with_hue: bool) -> tuple[np.ndarray, np.ndarray]:
    """The blends in each sample's order (N, K), and how many of them come before its hue (N,)."""
    is_kind = np.zeros(4, dtype=bool)
    is_kind[kinds] = True
    is_blend = is_kind[order]
    in_order = order[is_blend].reshape(len(order), len(kinds))
    if not with_hue:
        return in_order, np.full(len(order), len(kinds))
    hue_place = (order == _HUE).argmax(axis=1)
    return in_order, (is_blend & (np.arange(4) < hue_place[:, None])).sum(axis=1)


def _blend_maps(
    kinds: np.ndarray, factors: dict[int, np.ndarray], gray_weights: Sequence[float]
) -> tuple[np.ndarray, np.ndarray]:
    """Each blend as a linear map of the three channels (N, K, 3, 3) and of their means (N, K, 3)."""
    known = np.ones((4, len(kinds)), dtype=np.float32)
    for kind, values in factors.items():
        known[kind] = values
    factor = known[kinds, np.arange(len(kinds))[:, None]]
    rest, gray = 1 - factor, np.float32(gray_weights)
    # NumPy is slow where the last dimensions are small, so they come first until the end.
    gray_share = gray[:, None, None] * (rest * (kinds == _SATURATION))
    matrices = np.stack([gray_share] * 3)
    matrices[np.arange(3), np.arange(3)] += factor
    means = gray[:, None, None] * (rest * (kinds == _CONTRAST))
    return tuple(np.ascontiguousarray(np.moveaxis(maps, (-2, -1), (0, 1))) for maps in (matrices, means))


def _blend(images: Tensor, matrices: Tensor, means: Tensor) -> None:
    """In place: (n, 3, h, w) images, (n, 3, 3) maps of their channels, (n, 3) of the channels' means."""
    pixels = images.flatten(2)
    mean_gray = (pixels.mean(dim=2) * means).sum(dim=1)
    torch.clamp(torch.baddbmm(mean_gray[:, None, None], matrices, pixels), 0, 255, out=pixels)
