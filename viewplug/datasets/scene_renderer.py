"""Procedural scenes: one or more objects of known class, box and mask before a background shared by many images."""

from dataclasses import dataclass

import numpy as np

from .scene_backgrounds import shared_backgrounds
from .scene_layout import SceneLayout, SceneObject, whole_number
from .scene_parts import PALETTES, SHAPES, TEXTURES, scene_classes, tone


@dataclass(frozen=True)
class Scene:
    """A rendered image and everything that is true about it. Objects are in order of drawing, the largest first."""

    image: np.ndarray
    """(H, W, 3) uint8, RGB."""
    labels: np.ndarray
    """(n,) int64, class of each object."""
    boxes: np.ndarray
    """(n, 4) float32, x0, y0, x1, y1 of each mask in px: pixel (0, 0) covers the box 0, 0, 1, 1."""
    masks: np.ndarray
    """(n, H, W) uint8, 1 on the object; masks do not overlap."""

    @property
    def label(self) -> int:
        """Class of the image: that of its largest object."""
        return int(self.labels[0])


class SceneRenderer:
    """Draws scene ``index`` of an endless list, always the same one, on every platform.

    Pixels are computed in float64 with only those operations that IEEE 754 rounds correctly, one numpy call each (no
    sine, power, matrix product or sum), so that there is no last bit which could differ and flip a pixel.

    Args:
        num_classes: the first this many of the classes in ``scene_parts.scene_classes``.
        image_size: height and width, px.
        objects_per_image: a number, or the smallest and the largest.
        object_scale: smallest and largest side of an object as a fraction of ``image_size``; the side is the diameter
            of the circle around it. Objects keep clear of each other: one that is not the largest shrinks where it
            finds no room, and is left out where it would become smaller than 6 px.
        seed: of everything but classes and backgrounds, which never change.
        split: ``'train'`` or ``'val'``, two lists of scenes that have nothing in common but classes and backgrounds.
        upright: do not rotate objects.
        num_backgrounds: the first this many of the twelve.

    Raises:
        ValueError: an argument makes no sense; the message names it.
    """

    def __init__(
        self,
        num_classes: int = 12,
        image_size: int = 96,
        objects_per_image: int | tuple[int, int] = 1,
        object_scale: tuple[float, float] = (0.25, 0.4),
        seed: int = 0,
        split: str = 'train',
        upright: bool = False,
        num_backgrounds: int = 12,
    ) -> None:
        classes = scene_classes(whole_number('num_classes', num_classes, 2))
        self.classes = tuple(kind.name for kind in classes)
        self.image_size = whole_number('image_size', image_size, 16)
        self.layout = SceneLayout(
            classes, self.image_size, objects_per_image, object_scale, seed, split, upright, num_backgrounds
        )
        self._looks = [(SHAPES[k.shape], TEXTURES[k.texture], PALETTES[k.palette]) for k in classes]
        # Twice the image, so that the parts cut from one background differ.
        self._backgrounds = shared_backgrounds(2 * self.image_size, self.image_size)

    def render(self, index: int) -> Scene:
        """Scene ``index``."""
        plan = self.layout.plan(index)
        size, (x, y) = self.image_size, plan.corner
        part = self._backgrounds[plan.background, y : y + size, x : x + size]
        # Tones stay below 177 and gains below 300: no overflow.
        image = ((part.astype(np.uint16) * np.uint16(plan.gain)) >> np.uint16(8)).astype(np.uint8)
        masks = np.zeros((len(plan.objects), size, size), np.uint8)
        boxes = np.zeros((len(plan.objects), 4), np.float32)
        for thing, mask, box in zip(plan.objects, masks, boxes, strict=True):
            self._draw(thing, image, mask, box)
        return Scene(image, np.array([thing.label for thing in plan.objects], np.int64), boxes, masks)

    def _draw(self, thing: SceneObject, image: np.ndarray, mask: np.ndarray, box: np.ndarray) -> None:
        """Draw into the three arrays, touching only the square around the object."""
        shape, texture, hue = self._looks[thing.label]
        radius, (cos, sin) = thing.radius, thing.direction
        x0, y0 = max(int(thing.x - radius), 0), max(int(thing.y - radius), 0)
        x1, y1 = (min(int(at + radius) + 1, self.image_size) for at in (thing.x, thing.y))
        x = (np.arange(x0, x1) + (0.5 - thing.x)) / radius
        y = ((np.arange(y0, y1) + (0.5 - thing.y)) / radius)[:, None]
        u, v = x * cos + y * sin, y * cos - x * sin

        # Both distances become px here; an edge is one px wide, which is the anti-aliasing.
        inside = np.clip(0.5 - shape(u, v) * radius, 0, 1)
        phase = (0.0, 0.0) if texture is TEXTURES['ringed'] else thing.phase  # rings stay around the centre
        edge = texture(u / thing.period + phase[0], v / thing.period + phase[1])
        light = np.clip(0.5 + edge * (thing.period * radius), 0, 1)

        shade = 1 - 0.15 * y  # light falls from above, as in photographs: even a disc has an upper side
        bright = tone(hue + thing.hue_shift, 0.4, thing.value)
        dark = tone(hue + thing.hue_shift, 0.9, 0.6 * thing.value)
        for channel in range(3):
            colour = 255 * (dark[channel] + light * (bright[channel] - dark[channel])) * shade
            behind = image[y0:y1, x0:x1, channel]
            behind[:] = behind + inside * (np.minimum(colour, 255) - behind) + 0.5

        patch = inside >= 0.5
        mask[y0:y1, x0:x1] = patch
        rows, columns = np.flatnonzero(patch.any(1)), np.flatnonzero(patch.any(0))
        box[:] = x0 + columns[0], y0 + rows[0], x0 + columns[-1] + 1, y0 + rows[-1] + 1
