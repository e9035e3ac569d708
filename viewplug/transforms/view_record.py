"""Where a view was cut, put together from what the steps of its pipeline record."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from mmengine.dataset import Compose

from viewplug.crop_sampling import WHOLE_IMAGE

KEYS = ('crop_box', 'flip', 'flip_direction')
# fmt: off
KEPT = {
    'Resize', 'ResizeEdge', 'RandomResize', 'RandomChoiceResize', 'PatchGrid', 'NumpyToPIL', 'PILToNumpy',
    'Normalize', 'ColorJitter', 'RandomGrayscale', 'Grayscale', 'DropColours', 'Lighting', 'ColorTransform',
    'Brightness', 'Contrast', 'Sharpness', 'RandomAdjustSharpness', 'AutoContrast', 'RandomAutocontrast',
    'Equalize', 'RandomEqualize', 'Posterize', 'RandomPosterize', 'Invert', 'RandomInvert', 'Solarize',
    'RandomSolarize', 'SolarizeAdd', 'GaussianBlur', 'GaussianNoise', 'Sobel', 'Cutout', 'RandomErasing',
}
# fmt: on
"""Classes of mmcv, mmpretrain, torchvision and viewplug that leave what they show at its fraction of the image."""
LIBRARIES = ('mmcv', 'mmpretrain', 'torchvision', 'viewplug')
ROUNDING = 1e-6
"""How far beyond the image, in fractions of it, a recorded crop may come to lie by rounding."""


class UnrecordedMove(Exception):
    """A step of a view moves pixels in a way that no crop box and horizontal flip describes; says which, and why."""


class ViewRecord:
    """Runs a view's pipeline and composes its crops and flips, in their order.

    A step says what it does by an attribute: ``geometry = 'recorded'`` (it writes ``crop_box``, fractions of the image
    that it was given, or ``flip``, mirrored left to right thereafter) or ``geometry = 'kept'`` (it moves no pixels).
    RandomFlip and the classes in ``KEPT``, and what inherits from them, need not say it.

    Args:
        pipeline: the view's.

    Raises:
        UnrecordedMove: a step does neither, or is not known.
    """

    def __init__(self, pipeline: Compose) -> None:
        self.pipeline = pipeline
        self.moves = [moves_of(step) for step in pipeline.transforms]

    def __call__(self, results: dict) -> tuple[dict | None, Sequence[float], bool]:
        """
        Args:
            results: without any of ``KEYS``.

        Raises:
            ValueError: a step recorded a box that is not in fractions.

        Returns:
            The view's results, None as soon as a step returns that; its box, four fractions of the image; whether it
            was mirrored after it was cut.
        """
        box, flip = WHOLE_IMAGE, False
        for step, moves in zip(self.pipeline.transforms, self.moves, strict=True):
            results = step(results)
            if results is None:
                break
            if moves:
                crop = results.pop('crop_box', None)
                if crop is not None:
                    crop = _fractions(crop, step)
                    box = crop if box is WHOLE_IMAGE and not flip else _cut(box, flip, crop)
                flip ^= bool(results.pop('flip', False))
        return results, box, flip


def unknown_geometry(where: str, move: UnrecordedMove | str) -> str:
    """The sentence with which a run stops that needs boxes; ``where`` in the config the step stands that moves."""
    return f'this run needs to know where each view was cut, and cannot: in {where} has {move}'


def records_crop(step) -> bool:
    """Whether a pipeline has a crop, however deep, that says where it cuts."""
    return any(getattr(leaf, 'geometry', None) == 'recorded' for leaf in _leaves(step))


def _fractions(crop: Sequence[float], step) -> list[float]:
    """What a step recorded; what rounding has moved out of the image is at its edge."""
    given = [float(value) for value in crop]
    crop = [min(max(value, 0.0), 1.0) for value in given]
    outside = max((abs(one - other) for one, other in zip(crop, given, strict=True)), default=0)
    if len(crop) != 4 or outside > ROUNDING or not (crop[0] < crop[2] and crop[1] < crop[3]):
        raise ValueError(
            f'{_name(step)} must record crop_box as x0, y0, x1, y1 in fractions of the image that it was given, '
            f'got {given}'
        )
    return crop


def _cut(box: Sequence[float], flip: bool, crop: Sequence[float]) -> tuple[float, ...]:
    """The box of a crop of a view that shows ``box`` of the image, mirrored or not."""
    left, top, right, bottom = map(float, box)
    x0, y0, x1, y1 = map(float, crop)
    if flip:
        x0, x1 = 1 - x1, 1 - x0
    width, height = right - left, bottom - top
    return left + x0 * width, top + y0 * height, left + x1 * width, top + y1 * height


def moves_of(step) -> int:
    """How many crops and flips a step records, 0 or 1: only the last record of what happens inside of it can be read.

    Args:
        step: a transform, or an operator of views cut in batch.

    Raises:
        UnrecordedMove: it moves pixels and records nothing, or is not known.
    """
    wraps = _wraps(step, _names(step))
    try:
        moves = _moves(step)
    except UnrecordedMove as move:
        raise (UnrecordedMove(f'{_name(step)} around {move}') if wraps else move) from None
    if moves > 1:
        raise UnrecordedMove(
            f'{_name(step)} around several crops or flips, of which one record is left; put them into transforms one '
            'after the other'
        )
    return moves


def _moves(step) -> int:
    """How many crops and flips that leave a record a sample passes in ``step``, at most."""
    names = _names(step)
    geometry = getattr(step, 'geometry', None)
    if geometry in ('kept', 'recorded'):
        return int(geometry == 'recorded')
    if 'TorchVisonTransformWrapper' in names:
        return _moves(step.t)
    if _wraps(step, names):
        inner = [_moves(child) for child in step.transforms]
        if 'RandomChoice' in names:
            return max(inner, default=0)
        return sum(inner) * getattr(step, 'num_policies', 1)
    if 'RandomFlip' in names:
        directions = step.direction if isinstance(step.direction, list | tuple) else [step.direction]
        if set(directions) != {'horizontal'}:
            raise UnrecordedMove(
                f'RandomFlip with direction={step.direction!r}, and only horizontal flips can be recorded; set '
                "direction='horizontal', or put it before MultiView"
            )
        return 1
    if names & KEPT or getattr(step, 'beside_image', False):
        return 0
    raise UnrecordedMove(_unknown(step))


def _unknown(step) -> str:
    name, library = _name(step), _module(step)
    if library in LIBRARIES and name.endswith('Crop'):
        return (
            f'{library}.{name}, which does not say where it cuts; crop with viewplug.RandomResizedCrop or '
            'viewplug.ContrastiveCrop in its place, or put it before MultiView'
        )
    if library in LIBRARIES:
        return f'{name}, which may move pixels and does not say how; leave it out, or put it before MultiView'
    return (
        f"{name}, which viewplug does not know; if it moves no pixels, set the attribute geometry = 'kept' on it, else "
        'leave it out, or put it before MultiView'
    )


def _leaves(step) -> Iterator:
    if _wraps(step, _names(step)):
        for child in step.transforms:
            yield from _leaves(child)
    else:
        yield step


def _wraps(step, names: set[str]) -> bool:
    wrappers = {'Compose', 'RandomApply', 'RandomChoice', 'RandAugment'}
    return bool(names & wrappers) and hasattr(step, 'transforms')


def _names(step) -> set[str]:
    """Of its class and of those that it inherits from."""
    return {cls.__name__ for cls in type(step).__mro__}


def _name(step) -> str:
    return getattr(step, '__name__', type(step).__name__)


def _module(step) -> str:
    return (getattr(step, '__module__', None) or '').split('.')[0]
