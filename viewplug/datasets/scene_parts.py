"""What objects of a scene are made of: shapes, textures, palettes, and the classes they combine into.

Shapes and textures are functions of the object's own frame: ``u`` to its right and ``v`` down, in units of its radius,
the circle of radius 1 holding the whole shape. They use only operations that IEEE 754 rounds correctly
(+ - * / sqrt, min, max, abs, floor), so that every platform computes the same bits; sine, cosine and powers are libm's.
"""

import itertools
import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy import ndarray


class SceneClass(NamedTuple):
    """One class: what stays the same over all its objects."""

    shape: str
    texture: str
    palette: str

    @property
    def name(self) -> str:
        return f'{self.texture} {self.palette} {self.shape}'


def scene_classes(num_classes: int) -> list[SceneClass]:
    """The first ``num_classes`` classes; a longer list starts with the shorter one.

    The list grows from a full 2 x 2 x 2 grid of shapes, textures and palettes over 3 x 2 x 2 (the default 12 classes)
    to 6 x 4 x 4, and every full grid needs all three: two of them alone leave at least two classes to choose from.

    Raises:
        ValueError: ``num_classes`` is not between 2 and the number of combinations.
    """
    axes = (tuple(SHAPES), tuple(TEXTURES), tuple(PALETTES))
    most = len(SHAPES) * len(TEXTURES) * len(PALETTES)
    if not 2 <= num_classes <= most:
        raise ValueError(
            f'num_classes must lie between 2 and {most} ({len(SHAPES)} shapes x {len(TEXTURES)} textures x '
            f'{len(PALETTES)} palettes), got {num_classes}'
        )

    def grown(position):  # the step at which a list grown one shape, one texture, one palette at a time needs it
        palette, texture, shape = position
        return max(3 * max(shape, 1), 3 * max(texture, 1) + 1, 3 * max(palette, 1) + 2)

    grid = itertools.product(*(range(len(axis)) for axis in reversed(axes)))
    chosen = sorted(grid, key=grown)[:num_classes]
    return [SceneClass(axes[0][s], axes[1][t], axes[2][p]) for p, t, s in chosen]


def _disc(u: ndarray, v: ndarray) -> ndarray:
    return np.sqrt(u * u + v * v) - 0.82


def _triangle(u: ndarray, v: ndarray) -> ndarray:
    return np.maximum(v, 0.8660254 * np.abs(u) - 0.5 * v) - 0.5


def _cross(u: ndarray, v: ndarray) -> ndarray:
    u, v = np.abs(u), np.abs(v)
    return np.maximum(np.maximum(u, v) - 0.95, np.minimum(u, v) - 0.3)


def _square(u: ndarray, v: ndarray) -> ndarray:
    return np.maximum(np.abs(u), np.abs(v)) - 0.7


def _star(u: ndarray, v: ndarray) -> ndarray:
    """Five points: folded twice onto the wedge of one point, where the outline is a straight line."""
    cos36, sin36, inner = 0.80901699, 0.58778525, 0.5
    u, v = np.abs(u), -v
    for side in (1, -1):
        fold = 2 * np.maximum(side * cos36 * u - sin36 * v, 0)
        u, v = u - side * cos36 * fold, v + sin36 * fold
    edge_u, edge_v = inner * sin36, inner * cos36 - 1
    return (edge_u * (v - 1) - edge_v * np.abs(u)) / math.sqrt(edge_u * edge_u + edge_v * edge_v)


def _moon(u: ndarray, v: ndarray) -> ndarray:
    far = u - 0.55
    return np.maximum(np.sqrt(u * u + v * v) - 0.97, 0.72 - np.sqrt(far * far + v * v))


SHAPES: dict[str, Callable[[ndarray, ndarray], ndarray]] = {
    'disc': _disc,
    'triangle': _triangle,
    'cross': _cross,
    'square': _square,
    'star': _star,
    'moon': _moon,
}
"""Signed distance to the outline in radii, negative inside; exact along straight edges, close enough at corners."""


def _wave(x: ndarray) -> ndarray:
    """Triangle wave of period 1 between -1 and 1, positive over half of it."""
    return 4 * np.abs(x - np.floor(x) - 0.5) - 1


def _striped(u: ndarray, v: ndarray) -> ndarray:
    return 0.25 * _wave(u)


def _checked(u: ndarray, v: ndarray) -> ndarray:
    return 0.25 * _wave(0.7 * u) * _wave(0.7 * v)


def _dotted(u: ndarray, v: ndarray) -> ndarray:
    u, v = u - np.floor(u) - 0.5, v - np.floor(v) - 0.5
    return 0.39894228 - np.sqrt(u * u + v * v)


def _ringed(u: ndarray, v: ndarray) -> ndarray:
    return 0.25 * _wave(np.sqrt(u * u + v * v))


TEXTURES: dict[str, Callable[[ndarray, ndarray], ndarray]] = {
    'striped': _striped,
    'dotted': _dotted,
    'checked': _checked,
    'ringed': _ringed,
}
"""Signed distance to the edge between the light (positive) and the dark tone, in periods. Each covers half of the
plane with either tone: a texture hardly shows in an object's mean colour."""

PALETTES = {'red': 0.0, 'blue': 0.62, 'green': 0.36, 'yellow': 0.15}
"""Hue in turns; an object has a light and a dark tone of it."""


def tone(hue: float, saturation: float, value: float) -> list[float]:
    """RGB in [0, 1] of a colour given as HSV, hue in turns."""
    return [
        value * (1 - saturation * (1 - min(max(abs((hue + third) % 1 * 6 - 3) - 1, 0.0), 1.0)))
        for third in (0.0, 2 / 3, 1 / 3)
    ]
