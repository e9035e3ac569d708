"""The distribution of ContrastiveCrop's crops."""

import math

import numpy as np
import pytest
from mmpretrain.datasets.transforms import RandomResizedCrop as StockCrop
from scipy import stats

from viewplug.crop_sampling import sample_crop

BOX = (0.3, 0.2, 0.8, 0.6)
CHANCE = 1e-5  # a hundred tests then raise a false alarm once in a thousand runs
ONE_SIZE = dict(crop_ratio_range=(0.25, 0.25), aspect_ratio_range=(1, 1))


def usual_and_broken_boxes(number: int) -> np.ndarray:
    """Half are boxes in the image; the others are empty, inverted, outside, infinite or not a number."""
    rng = np.random.RandomState(0)
    boxes = rng.rand(number, 4)
    usual = np.concatenate([boxes[:, :2] * boxes[:, 2:], boxes[:, 2:]], axis=1)
    broken = rng.choice([-np.inf, -3, 0, 0.5, 1, 4, np.inf, np.nan], (number, 4)) + boxes * rng.choice(
        [0, 1], (number, 1)
    )
    return np.where(rng.rand(number, 1) < 0.5, usual, broken)


def distribution_of_the_edge(start, stop, size, crop, cumulative) -> tuple[int, np.ndarray]:
    """Paper: centre = start + (stop - start) u, kept inside. The lowest edge, and P(edge <= lowest + k) for each k."""
    edges = [e for e in range(size - crop + 1) if start * size <= e + crop / 2 <= stop * size]
    if start == 0:
        edges = [e for e in range(size - crop + 1) if e + crop / 2 <= stop * size]
    if stop == 1:
        edges = [e for e in range(size - crop + 1) if e + crop / 2 >= start * size]
    if (start, stop) == (0, 1):
        edges = list(range(size - crop + 1))
    return edges[0], cumulative((np.arange(len(edges)) + 1) / len(edges))


def agreement(edges, lowest, cumulative) -> float:
    """p-value of Kolmogorov and Smirnov's test; on a discrete distribution it is at least as large as it should be."""
    found = np.cumsum(np.bincount(np.asarray(edges) - lowest, minlength=len(cumulative))) / len(edges)
    assert len(found) == len(cumulative), 'an edge beyond the last one'
    return stats.kstwobign.sf(np.abs(found - cumulative).max() * math.sqrt(len(edges)))


DISTRIBUTIONS = {
    **{f'alpha {alpha}': (dict(alpha=alpha), stats.beta(alpha, alpha).cdf) for alpha in (0.1, 0.6, 1, 3)},
    'uniform': (dict(center='uniform'), stats.uniform.cdf),
    'quadratic': (dict(center='quadratic'), lambda u: 4 * (u - 0.5) ** 3 + 0.5),
    'function': (dict(center=lambda rng: rng.beta(2, 5)), stats.beta(2, 5).cdf),
}


@pytest.mark.parametrize('settings,cumulative', DISTRIBUTIONS.values(), ids=DISTRIBUTIONS)
@pytest.mark.parametrize('box', [None, BOX, (0.0, 0.2, 0.4, 1.0)], ids=['whole image', 'inside', 'at two borders'])
def test_each_coordinate_of_the_centre_has_the_distribution_asked_for(settings, cumulative, box):
    height, width, side = 3000, 4800, 1897  # side^2 is a quarter of the area
    crops = np.array([sample_crop(height, width, box, **ONE_SIZE, **settings) for _ in range(8000)])
    assert (crops[:, 2:] == side).all()
    x0, y0, x1, y1 = box or (0, 0, 1, 1)
    assert agreement(crops[:, 0], *distribution_of_the_edge(y0, y1, height, side, cumulative)) > CHANCE
    assert agreement(crops[:, 1], *distribution_of_the_edge(x0, x1, width, side, cumulative)) > CHANCE
    assert agreement(crops[:, 0], *distribution_of_the_edge(y0, y1, height, side, stats.beta(1.3, 1.3).cdf)) < CHANCE


def test_both_ends_of_the_range_are_drawn_and_alike():
    tops = np.array([sample_crop(8, 8, **ONE_SIZE, alpha=0.3)[0] for _ in range(20000)])
    counts = np.bincount(tops)
    shares = np.diff(stats.beta(0.3, 0.3).cdf(np.arange(6) / 5))
    assert stats.chisquare(counts, shares * len(tops)).pvalue > CHANCE


def crops_of(function, number=6000) -> np.ndarray:
    top, left, height, width = np.array([function() for _ in range(number)]).T
    return np.stack([left + width / 2, top + height / 2, width, height])


@pytest.mark.parametrize('shape', [(375, 500), (500, 120), (32, 32)])
def test_alpha_1_on_the_whole_image_has_the_distribution_of_random_resized_crop(shape):
    image = np.empty((*shape, 3), dtype=np.uint8)
    stock = StockCrop(scale=8, crop_ratio_range=(0.2, 1.0))
    expected = crops_of(lambda: stock.rand_crop_params(image))
    found = crops_of(lambda: sample_crop(*shape, alpha=1))
    assert min(stats.ks_2samp(a, b, method='asymp').pvalue for a, b in zip(found, expected, strict=True)) > CHANCE
    suppressed = crops_of(lambda: sample_crop(*shape, alpha=0.1))
    p_values = [stats.ks_2samp(a, b, method='asymp').pvalue for a, b in zip(suppressed, expected, strict=True)]
    assert max(p_values[:2]) < CHANCE and min(p_values[2:]) > CHANCE  # suppression moves crops and leaves their sizes


@pytest.mark.parametrize('ratio,aspect', [((0.2, 1.0), (3 / 4, 4 / 3)), ((1.0, 1.0), (1.0, 1.0))], ids=['', 'central'])
def test_alpha_1_on_the_whole_image_draws_the_very_crops_of_random_resized_crop(ratio, aspect):
    stock = StockCrop(scale=8, crop_ratio_range=ratio, aspect_ratio_range=aspect)
    for seed in range(300):
        shape = np.random.RandomState(seed).randint(1, 80, 2).tolist()
        np.random.seed(seed)
        expected = stock.rand_crop_params(np.empty(shape)), np.random.rand()
        np.random.seed(seed)
        assert (sample_crop(*shape, None, ratio, aspect, alpha=1), np.random.rand()) == expected


def test_the_centre_lies_in_the_box_wherever_the_image_leaves_room():
    rng = np.random.RandomState(0)
    inside = 0
    for box in usual_and_broken_boxes(6000)[::2]:
        if not (0 <= box[0] < box[2] <= 1 and 0 <= box[1] < box[3] <= 1):
            continue
        height, width = rng.randint(1, 40, 2).tolist()
        top, left, crop_height, crop_width = sample_crop(height, width, box, (0.05, 0.6), max_attempts=1000, rng=rng)
        if (crop_height, crop_width) == (height, width):
            continue
        for start, stop, edge, size, crop in [
            (box[1], box[3], top, height, crop_height),
            (box[0], box[2], left, width, crop_width),
        ]:
            distances = [
                max(start * size - e - crop / 2, e + crop / 2 - stop * size, 0) for e in range(size - crop + 1)
            ]
            distance = max(start * size - edge - crop / 2, edge + crop / 2 - stop * size, 0)
            assert distance <= min(distances) + 1e-9
            inside += min(distances) == 0
    assert inside > 1000


def test_no_image_and_no_box_makes_it_fail_or_cut_outside():
    number = 100_000
    rng = np.random.RandomState(1)
    shapes = np.exp(rng.uniform(0, 8, (number, 2))).astype(int)
    shapes[::10, 0] = 1
    shapes[::15, 1] = 1
    boxes = usual_and_broken_boxes(number)
    settings = [
        dict(),
        dict(alpha=0.1, crop_ratio_range=(0.0, 0.01)),
        dict(alpha=5, crop_ratio_range=(0.9, 1.0)),
        dict(aspect_ratio_range=(0.1, 0.3)),
        dict(center='quadratic', aspect_ratio_range=(5, 9), max_attempts=1),
    ]
    crops = np.array(
        [
            sample_crop(*shape, box, **settings[i % 5])
            for i, (shape, box) in enumerate(zip(shapes.tolist(), boxes.tolist(), strict=True))
        ]
    )
    assert crops.dtype.kind == 'i' and (crops[:, :2] >= 0).all() and (crops[:, 2:] >= 1).all()
    assert (crops[:, :2] + crops[:, 2:] <= shapes).all()


@pytest.mark.parametrize(
    'box', [(np.nan, 0, 0.1, 0.1), (0, 0, 0.1, np.nan), (0.2, 0.1, 0.1, 0.2), (0.1, 0.1, 0.1, 0.2), (0, 0, 0, 0),
            (1.1, 0, 1.5, 0.1), (-1, 0, 0, 0.1)],
)  # fmt: skip
def test_a_box_without_area_in_the_image_is_the_whole_image(box):
    for seed in range(20):
        expected = sample_crop(60, 90, rng=np.random.RandomState(seed))
        assert sample_crop(60, 90, box, rng=np.random.RandomState(seed)) == expected


def test_what_sticks_out_of_the_image_is_cut_off():
    for seed in range(20):
        expected = sample_crop(60, 90, (0.5, 0, 1, 0.5), rng=np.random.RandomState(seed))
        assert sample_crop(60, 90, (0.5, -np.inf, 7, 0.5), rng=np.random.RandomState(seed)) == expected


@pytest.mark.parametrize('make', [np.random.RandomState, np.random.default_rng])
@pytest.mark.parametrize('alpha', [0.5, 1])
def test_any_random_state_of_numpy_decides_the_crop_alone(make, alpha):
    first = [sample_crop(60, 90, BOX, alpha=alpha, rng=make(seed)) for seed in range(30)]
    np.random.rand(7)
    assert [sample_crop(60, 90, BOX, alpha=alpha, rng=make(seed)) for seed in range(30)] == first
    assert len(set(first)) > 20


@pytest.mark.parametrize(
    'settings,message',
    [
        (dict(height=0), 'at least one pixel to crop, got 0 x 90'),
        (dict(alpha=0), 'alpha must be a positive number .* got 0'),
        (dict(alpha=math.nan), 'alpha must be a positive number .* got nan'),
        (dict(center='cubic'), "center must be 'beta', 'uniform', 'quadratic' or a function, got 'cubic'"),
        (dict(center=lambda rng: 1.5), r'center must draw from \[0, 1\], got 1.5'),
        (dict(crop_ratio_range=(0.5, 0.2)), r'crop_ratio_range must be .* got \(0.5, 0.2\)'),
        (dict(crop_ratio_range=(-1, 0.2)), r'crop_ratio_range must be .* got \(-1, 0.2\)'),
        (dict(aspect_ratio_range=(0, 1)), r'aspect_ratio_range must be .* got \(0, 1\)'),
        (dict(box=(0.1, 0.2, 0.3)), r'box must be four fractions .* got \(0.1, 0.2, 0.3\)'),
    ],
)
def test_a_wrong_argument_is_named(settings, message):
    with pytest.raises(ValueError, match=message):
        sample_crop(**{**dict(height=60, width=90), **settings})
