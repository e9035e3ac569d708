"""The few backgrounds that all scenes share.

Sharing is the point: where every image has a background of its own, telling images apart takes only the background,
and contrastive pre-training learns nothing about the objects.
"""

import numpy as np

NUM_BACKGROUNDS = 12
_SEED = 20_260_101
_PAIRS = (  # two muted RGB tones for each background
    ((150, 140, 120), (104, 96, 84)),
    ((120, 132, 120), (80, 94, 84)),
    ((160, 156, 150), (116, 112, 110)),
    ((112, 120, 136), (72, 80, 96)),
    ((150, 128, 124), (110, 88, 86)),
    ((176, 168, 144), (132, 122, 100)),
)


def shared_backgrounds(side: int, unit: float) -> np.ndarray:
    """The backgrounds as one (NUM_BACKGROUNDS, side, side, 3) uint8 RGB array, the same on every platform.

    They come from a fixed seed, so that data sets of any seed or split show the same world.

    Args:
        side: height and width, px.
        unit: side of the images that are cut from them, px; grain grows with it.
    """
    rng = np.random.PCG64(_SEED)
    fields = (_clouds, _wood, _grain, _planks, _blotches, _weave)
    return np.stack(
        [_mix(fields[k % len(fields)](rng, side, unit), *_PAIRS[(5 * k + k // 6) % 6]) for k in range(NUM_BACKGROUNDS)]
    )


def _mix(field: np.ndarray, light, dark) -> np.ndarray:
    """Tones weighted by a field in [0, 1]."""
    light, dark = np.array(light, float), np.array(dark, float)
    return (dark + field[..., None] * (light - dark) + 0.5).astype(np.uint8)


def _noise(rng, side: int, cell_y: float, cell_x: float) -> np.ndarray:
    """(side, side) noise in [0, 1]: random values on a grid of cells (px), bilinear between."""
    y, wy = _steps(side, cell_y)
    x, wx = _steps(side, cell_x)
    rows, cols = int(y[-1]) + 2, int(x[-1]) + 2
    values = (rng.random_raw(rows * cols) >> np.uint64(11)).astype(float).reshape(rows, cols) * 2.0**-53
    strips = values[y] + wy[:, None] * (values[y + 1] - values[y])
    return strips[:, x] + wx * (strips[:, x + 1] - strips[:, x])


def _steps(side: int, cell: float) -> tuple[np.ndarray, np.ndarray]:
    at = np.arange(side) / max(cell, 1.0)
    whole = np.floor(at).astype(int)
    t = at - whole
    return whole, t * t * (3 - 2 * t)


def _clouds(rng, side, unit):
    octaves = [_noise(rng, side, unit / n, unit / n) for n in (4, 8, 16, 32)]
    return 0.4 * octaves[0] + 0.3 * octaves[1] + 0.2 * octaves[2] + 0.1 * octaves[3]


def _wood(rng, side, unit):
    return 0.6 * _noise(rng, side, unit / 24, unit / 2) + 0.4 * _noise(rng, side, unit / 48, unit / 3)


def _grain(rng, side, unit):
    return 0.5 * _noise(rng, side, unit / 40, unit / 40) + 0.5 * _noise(rng, side, unit / 10, unit / 10)


def _blotches(rng, side, unit):
    spots = np.clip(0.5 + 4 * (_noise(rng, side, unit / 9, unit / 9) - 0.5), 0, 1)
    return 0.75 * spots + 0.25 * _noise(rng, side, unit / 40, unit / 40)


def _planks(rng, side, unit):
    y = np.arange(side)[:, None] * 6 / unit
    face = np.clip(4 - 8 * np.abs(y - np.floor(y) - 0.5), 0, 1)
    return 0.7 * face + 0.3 * _noise(rng, side, unit / 24, unit / 24)


def _weave(rng, side, unit):
    y, x = np.arange(side)[:, None] * 12 / unit, np.arange(side)[None] * 12 / unit
    over = (np.floor(y) + np.floor(x)) % 2
    bulge_y, bulge_x = 1 - 2 * np.abs(y - np.floor(y) - 0.5), 1 - 2 * np.abs(x - np.floor(x) - 0.5)
    return 0.6 * np.where(over > 0, bulge_y, bulge_x) + 0.4 * _noise(rng, side, unit / 6, unit / 6)
