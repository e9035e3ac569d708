"""Heat maps and their boxes against the paper's equations written as loops."""

import math

import numpy as np
import pytest
import torch

from viewplug.ops.heatmap_boxes import (
    channel_sum,
    closure,
    localise,
    normalise_heatmaps,
    otsu_thresholds,
    upsample_heatmaps,
)


def slow_pixel(heatmap, y, x, height, width):
    """Bilinear up-sampling of one pixel, written out: pixel centres, borders repeated."""
    h, w = heatmap.shape
    v = min(max((y + 0.5) * h / height - 0.5, 0), h - 1)
    u = min(max((x + 0.5) * w / width - 0.5, 0), w - 1)
    top, left = int(v), int(u)
    bottom, right = min(top + 1, h - 1), min(left + 1, w - 1)
    b, a = v - top, u - left
    upper = (1 - a) * heatmap[top, left] + a * heatmap[top, right]
    lower = (1 - a) * heatmap[bottom, left] + a * heatmap[bottom, right]
    return (1 - b) * upper + b * lower


def slow_box(features, size, threshold):
    """Sec. 3.2 and eq. 2 for one image: sum, min-max, up-sample, indicator, closure."""
    heatmap = np.zeros(features.shape[1:])
    for channel in features:
        heatmap = heatmap + channel
    heatmap = (heatmap - heatmap.min()) / (heatmap.max() - heatmap.min())
    height, width = size
    xs, ys = [], []
    for y in range(height):
        for x in range(width):
            if slow_pixel(heatmap, y, x, height, width) > threshold:
                xs += [x, x + 1]
                ys += [y, y + 1]
    return [min(xs) / width, min(ys) / height, max(xs) / width, max(ys) / height]


@pytest.mark.parametrize('threshold', [0.05, 0.3, 0.7])
def test_boxes_are_those_of_the_papers_equations(threshold):
    features = torch.rand(12, 6, 4, 5) ** 4  # peaked, so that boxes are not all the whole image
    found = localise(channel_sum(features), (24, 35), threshold)
    expected = [slow_box(image.double().numpy(), (24, 35), threshold) for image in features]
    assert np.allclose(found.boxes, expected, atol=1e-6)
    assert not found.dead.any()
    assert found.whole.tolist() == [box == [0, 0, 1, 1] for box in expected]
    assert threshold < 0.3 or not found.whole.all()


def test_the_box_of_a_bright_cell_surrounds_the_cell():
    heatmaps = torch.zeros(1, 7, 7)
    heatmaps[0, 2, 5] = 3
    x0, y0, x1, y1 = localise(heatmaps, (224, 224), 0.5).boxes[0].tolist()
    assert x0 == pytest.approx(5 / 7, abs=0.01) and x1 == pytest.approx(6 / 7, abs=0.01)
    assert y0 == pytest.approx(2 / 7, abs=0.01) and y1 == pytest.approx(3 / 7, abs=0.01)


@pytest.mark.parametrize(
    'values',
    [0.0, 5.0, float('nan'), float('inf'), float('-inf'), 'one nan', 'rounding'],
)
def test_a_map_that_says_nothing_gives_the_whole_image_and_is_counted_and_its_neighbours_are_untouched(values):
    heatmaps = torch.rand(3, 4, 4) ** 4
    alone = localise(heatmaps, (16, 16), 0.5)
    if values == 'one nan':
        heatmaps[1, 2, 2] = float('nan')
    elif values == 'rounding':
        heatmaps[1] = 1000 + 1e-4 * torch.rand(4, 4)
    else:
        heatmaps[1] = values
    found = localise(heatmaps, (16, 16), 0.5)
    assert found.boxes[1].tolist() == [0, 0, 1, 1]
    assert found.dead.tolist() == [False, True, False]
    assert found.whole[1]
    assert torch.equal(found.boxes[[0, 2]], alone.boxes[[0, 2]])


def test_a_map_above_the_threshold_at_all_borders_is_whole_but_not_dead():
    heatmaps = torch.rand(1, 4, 4) + 5
    heatmaps[0, 1, 1] = 0
    found = localise(heatmaps, (16, 16), 0.1)
    assert found.whole.tolist() == [True] and found.dead.tolist() == [False]


def test_a_threshold_that_up_sampling_never_reaches_gives_the_whole_image():
    heatmaps = torch.zeros(1, 4, 4)
    heatmaps[0, 1, 1] = 1
    found = localise(heatmaps, (16, 16), 0.99)
    assert found.boxes.tolist() == [[0, 0, 1, 1]] and found.dead.tolist() == [True]


def test_float16_maps_of_many_channels_do_not_overflow():
    features = torch.full((1, 2048, 2, 2), 100, dtype=torch.float16)
    features[0, :, 0, 0] = 50
    assert channel_sum(features).tolist() == [[[102400, 204800], [204800, 204800]]]


def test_maps_are_normalised_by_their_own_range():
    maps, dead = normalise_heatmaps(torch.tensor([[[-2.0, 0], [2, 6]]]))
    assert maps.tolist() == [[[0, 0.25], [0.5, 1]]] and not dead.any()


def test_up_sampling_is_bilinear_between_cell_centres():
    heatmaps = torch.rand(1, 3, 2)
    found = upsample_heatmaps(heatmaps, (9, 8))[0]
    expected = [[slow_pixel(heatmaps[0].numpy(), y, x, 9, 8) for x in range(8)] for y in range(9)]
    assert np.allclose(found, expected, atol=1e-6)


def test_the_closure_of_nothing_is_the_whole_image_and_said_to_be_empty():
    masks = torch.zeros(2, 3, 4, dtype=torch.bool)
    masks[1, 1, 2] = True
    boxes, empty = closure(masks)
    assert boxes[0].tolist() == [0, 0, 1, 1] and empty.tolist() == [True, False]
    assert np.allclose(boxes[1], [2 / 4, 1 / 3, 3 / 4, 2 / 3])


def test_a_quantile_keeps_its_share_of_the_cells_whatever_their_values():
    ranks = torch.randperm(100).float().view(1, 10, 10)
    level = ranks.flatten().quantile(0.9)
    found = localise(ranks, (10, 10), 0.1, adaptive=0.9)
    expected, _ = closure(ranks > level)
    assert torch.equal(found.boxes, expected)
    assert localise(ranks, (10, 10), 0.1).whole.all()


def slow_otsu(values, bins=256):
    """The level that makes the variance between the classes largest, tried one by one; the middle of equals."""
    levels = [(min(int(v * bins), bins - 1) + 0.5) / bins for v in values]
    best, answers = -1.0, []
    for number in range(1, bins + 1):
        level = number / bins
        low = [v for v in levels if v < level]
        high = [v for v in levels if v >= level]
        if low and high:
            gap = sum(low) / len(low) - sum(high) / len(high)
            spread = len(low) * len(high) / len(levels) ** 2 * gap**2
            if spread > best + 1e-9:
                best, answers = spread, []
            if spread > best - 1e-9:
                answers.append(level)
    return (answers[0] + answers[-1]) / 2


def test_otsu_is_the_exhaustive_search():
    object_ = 0.8 + 0.1 * torch.randn(4, 20)
    ground = 0.3 + 0.1 * torch.randn(4, 44)
    maps = torch.cat([object_, ground], dim=1).clamp(0, 1).view(4, 8, 8)
    expected = [slow_otsu(image.flatten().tolist()) for image in maps]
    assert np.allclose(otsu_thresholds(maps), expected, atol=1e-6)
    assert all(0.4 < level < 0.75 for level in expected)


def test_otsu_cuts_a_map_whose_background_passes_the_fixed_threshold():
    heatmaps = 0.5 + 0.1 * torch.rand(1, 14, 14)
    heatmaps[0, 0, 0] = 0
    heatmaps[0, 3:6, 8:12] = 1
    assert localise(heatmaps, (56, 56), 0.1).whole.all()
    box = localise(heatmaps, (56, 56), 0.1, adaptive='otsu').boxes[0]
    assert np.allclose(box, [8 / 14, 3 / 14, 12 / 14, 6 / 14], atol=0.03)


@pytest.mark.parametrize(
    'arguments, sentence',
    [
        (dict(threshold=1.0), 'threshold must lie in .0, 1.*got 1.0'),
        (dict(threshold=-0.1), 'threshold.*-0.1'),
        (dict(threshold=math.nan), 'threshold.*nan'),
        (dict(adaptive='median'), "adaptive_threshold.*'median'"),
        (dict(adaptive=1.5), 'adaptive_threshold.*1.5'),
    ],
)
def test_thresholds_out_of_range_are_named(arguments, sentence):
    with pytest.raises(ValueError, match=sentence):
        localise(torch.rand(1, 2, 2), (4, 4), **arguments)
