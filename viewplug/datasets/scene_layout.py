"""What stands where in a procedural scene, before a pixel is drawn."""

import math
import numbers
from dataclasses import dataclass

import numpy as np

from .scene_backgrounds import NUM_BACKGROUNDS
from .scene_parts import SHAPES, SceneClass

SPLITS = ('train', 'val')
SMALLEST_SIDE = 6
"""Side in px below which an object has no shape left."""

_PLACES = 16  # positions tried for an object that must keep clear of others
_SCENE_DRAWS, _OBJECT_DRAWS = 8, 8 + 2 * _PLACES

# libm's sine and cosine differ in their last bits between platforms. Rounding to 2^-20 removes that: no entry lies
# within 1e-12 of a tie.
_DIRECTIONS = np.round(np.exp(2j * np.pi * np.arange(360) / 360) * 2.0**20) / 2.0**20


@dataclass(frozen=True)
class SceneObject:
    """Where an object stands and how it looks; lengths in px, y down."""

    label: int
    x: float
    y: float
    radius: float
    """Of the circle around it."""
    direction: tuple[float, float]
    """Cosine and sine of its rotation."""
    hue_shift: float
    """In turns."""
    value: float
    """Brightness of the light tone, in [0, 1]."""
    period: float
    """Of the texture, in radii."""
    phase: tuple[float, float]
    """Of the texture, in periods."""


@dataclass(frozen=True)
class ScenePlan:
    """A scene: which part of which background, how bright, and the objects before it, the largest first."""

    background: int
    corner: tuple[int, int]
    """Upper left corner (x, y) of the part of the background, px."""
    gain: int
    """Of the background, in 1/256."""
    objects: list[SceneObject]


class SceneLayout:
    """Plans scene ``index`` of an endless list; the arguments are those of ``SceneRenderer``."""

    def __init__(
        self,
        classes: list[SceneClass],
        image_size: int,
        objects_per_image: int | tuple[int, int],
        object_scale: tuple[float, float],
        seed: int,
        split: str,
        upright: bool,
        num_backgrounds: int = NUM_BACKGROUNDS,
    ) -> None:
        if split not in SPLITS:
            raise ValueError(f"split must be 'train' or 'val', got {split!r}")
        if whole_number('seed', seed, 0) >= 2**32:  # it would spill into the next word of the stream's key
            raise ValueError(f'seed must be smaller than 2**32, got {seed}')
        self.image_size = image_size
        self.objects_per_image = _object_range(objects_per_image)
        self.object_scale = _scale_range(object_scale, image_size)
        most, largest = self.objects_per_image[1], self.object_scale[1]
        if most > 1 and most * largest * largest > 0.5:
            raise ValueError(
                f'objects_per_image={objects_per_image!r} of object_scale={object_scale!r} leave no room: the largest '
                'number times the square of the largest scale must not exceed 0.5'
            )
        self._key = (int(seed), SPLITS.index(split))
        self._upright = upright
        self._backgrounds = whole_number('num_backgrounds', num_backgrounds, 1)
        if self._backgrounds > NUM_BACKGROUNDS:
            raise ValueError(f'num_backgrounds must be at most {NUM_BACKGROUNDS}, got {num_backgrounds}')
        self._areas = [_AREAS[kind.shape] for kind in classes]

    def label(self, index: int) -> int:
        """Class of the largest object of scene ``index``.

        Every run of ``num_classes`` scenes has each class once, and each run starts one class later, so that taking
        every n-th scene does not pick single classes.
        """
        return (index + index // len(self._areas)) % len(self._areas)

    def plan(self, index: int) -> ScenePlan:
        """Scene ``index``."""
        least, most = self.objects_per_image
        draws = _uniform((*self._key, whole_number('index', index, 0)), _SCENE_DRAWS + _OBJECT_DRAWS * most)
        number = least + int(draws[0] * (most - least + 1))
        starts = range(_SCENE_DRAWS, _SCENE_DRAWS + _OBJECT_DRAWS * number, _OBJECT_DRAWS)
        return ScenePlan(
            background=int(draws[1] * self._backgrounds),
            corner=(int(draws[2] * (self.image_size + 1)), int(draws[3] * (self.image_size + 1))),
            gain=200 + int(draws[4] * 100),
            objects=self._objects(self.label(index), [draws[start : start + _OBJECT_DRAWS] for start in starts]),
        )

    def _objects(self, label: int, draws: list[list[float]]) -> list[SceneObject]:
        low, high = self.object_scale
        radii = sorted((0.5 * self.image_size * (low + draw[0] * (high - low)) for draw in draws), reverse=True)
        objects = []
        for draw, radius in zip(draws, radii, strict=True):
            if objects:
                label = int(draw[1] * len(self._areas))
                # The first object stays the largest in area as well.
                radius = min(radius, 0.95 * radii[0] * math.sqrt(self._areas[objects[0].label] / self._areas[label]))
            x, y, radius = self._place(draw[8:], radius, objects)
            if 2 * radius < SMALLEST_SIDE:
                continue
            direction = 1 + 0j if self._upright else _DIRECTIONS[int(draw[2] * len(_DIRECTIONS))]
            objects.append(
                SceneObject(
                    label=label,
                    x=x,
                    y=y,
                    radius=radius,
                    direction=(float(direction.real), float(direction.imag)),
                    hue_shift=0.08 * (draw[3] - 0.5),
                    value=0.85 + 0.15 * draw[4],
                    period=0.5 + 0.12 * draw[5],
                    phase=(draw[6], draw[7]),
                )
            )
        return objects

    def _place(self, draws: list[float], radius: float, objects: list[SceneObject]) -> tuple[float, float, float]:
        """The first place that is free, or the one with most room and the radius that fits there."""
        best = (0.0, 0.0, 0.0)
        for k in range(_PLACES):
            x, y = (radius + draw * (self.image_size - 2 * radius) for draw in draws[2 * k : 2 * k + 2])
            gaps = (math.sqrt((x - o.x) * (x - o.x) + (y - o.y) * (y - o.y)) - o.radius for o in objects)
            room = min(gaps, default=radius)
            if room >= radius:
                return x, y, radius
            if room > best[2]:
                best = (x, y, room)
        return best


def whole_number(name: str, value, least: int) -> int:
    """``value`` as an int, or a ``ValueError`` that names the argument."""
    if isinstance(value, bool) or not isinstance(value, numbers.Integral) or value < least:
        raise ValueError(f'{name} must be a whole number of at least {least}, got {value!r}')
    return int(value)


def _object_range(value) -> tuple[int, int]:
    pair = (value, value) if isinstance(value, numbers.Integral) else value
    if not isinstance(pair, (tuple, list)) or len(pair) != 2:
        raise ValueError(f'objects_per_image must be a number or a pair (smallest, largest), got {value!r}')
    least, most = (whole_number('objects_per_image', number, 1) for number in pair)
    if not least <= most <= 255:
        raise ValueError(f'objects_per_image must not end below its start or above 255, got {value!r}')
    return least, most


def _scale_range(value, image_size: int) -> tuple[float, float]:
    numeric = isinstance(value, (tuple, list)) and all(isinstance(number, numbers.Real) for number in value)
    if not numeric or len(value) != 2 or not 0 < value[0] <= value[1] <= 1:
        raise ValueError(f'object_scale must be a pair (smallest, largest) within (0, 1], got {value!r}')
    if value[0] * image_size < SMALLEST_SIDE:
        raise ValueError(
            f'object_scale={value!r} makes objects of {value[0] * image_size:.1f} px at image_size={image_size}; '
            f'{SMALLEST_SIDE} px is the smallest that has a shape'
        )
    return float(value[0]), float(value[1])


def _uniform(key: tuple[int, ...], number: int) -> list[float]:
    """Numbers in [0, 1), from the raw stream: that is what numpy promises not to change between versions."""
    raw = np.random.PCG64(np.random.SeedSequence(key)).random_raw(number)
    return ((raw >> np.uint64(11)).astype(float) * 2.0**-53).tolist()


def _shape_areas() -> dict[str, int]:
    """Area of each shape, counted on one grid."""
    at = (np.arange(64) - 31.5) / 32
    return {name: int((shape(at[None], at[:, None]) < 0).sum()) for name, shape in SHAPES.items()}


_AREAS = _shape_areas()
