"""Class score against distance, with a scorer whose answer is known."""

import numpy as np
import pytest
import torch
from torch import nn

from viewplug.evaluation.crop_semantics import CropPairs, LinearScorer, judge_crops, score_by_distance
from viewplug.transforms import ContrastiveCrop

SIZE = 48


def scenes(number=24):
    """A bright square of a quarter of the image's side on black, its class 1, and its box."""
    rng = np.random.default_rng(0)
    images = torch.zeros(number, 3, SIZE, SIZE, dtype=torch.uint8)
    corners = rng.integers(0, SIZE - 12, (number, 2))
    for image, (top, left) in zip(images, corners, strict=True):
        image[:, top : top + 12, left : left + 12] = 255
    boxes = torch.tensor([[left, top, left + 12, top + 12] for top, left in corners]) / SIZE
    return images, torch.ones(number, dtype=torch.long), boxes


def brightness(images):
    """Probability of class 1: the brightest pixel; features: the image in 4 x 4."""
    shown = images.amax(dim=(1, 2, 3)) / 255
    small = nn.functional.adaptive_avg_pool2d(images[:, :1], 4).flatten(1) + 1
    return torch.stack([torch.zeros_like(shown), torch.logit(shown, eps=1e-6)], dim=1), small


def judge(**changes):
    crop = ContrastiveCrop(24, (0.1, 0.4), alpha=0.3)
    return judge_crops(brightness, *scenes(), crop, **changes)


def test_localisation_shows_the_object_and_suppression_moves_the_views_apart():
    found = judge(pairs=6)
    assert list(found) == ['RandomCrop', 'localisation', 'suppression', 'ContrastiveCrop']
    score, distance = (
        {name: float(getattr(p, kind).mean()) for name, p in found.items()} for kind in ('scores', 'distances')
    )
    assert score['localisation'] > score['RandomCrop'] + 0.1
    assert score['ContrastiveCrop'] > score['suppression'] + 0.1
    assert distance['ContrastiveCrop'] > distance['localisation']
    assert all(len(pairs.scores) == len(pairs.distances) == 24 * 6 for pairs in found.values())
    assert all((pairs.distances <= 2).all() and (pairs.scores <= 1).all() for pairs in found.values())


def test_a_seed_repeats_the_crops_and_wholes_have_no_distance():
    first, again, other = (judge(pairs=1, seed=seed, variants=['ContrastiveCrop']) for seed in (0, 0, 1))
    assert torch.equal(first['ContrastiveCrop'].distances, again['ContrastiveCrop'].distances)
    assert not torch.equal(first['ContrastiveCrop'].distances, other['ContrastiveCrop'].distances)
    whole = ContrastiveCrop(24, (1.0, 1.0), (1.0, 1.0))
    pairs = judge_crops(brightness, *scenes(), whole, pairs=1)['RandomCrop']
    assert pairs.distances.max() < 1e-3 and pairs.scores.min() > 0.99


def test_bins_hold_the_mean_score_of_their_distances():
    pairs = CropPairs(torch.tensor([0.1, 0.3, 0.5, 0.7]), torch.tensor([0.0, 0.1, 0.9, 1.0]))
    (near, far) = score_by_distance({'x': pairs}, 2)['x']
    assert near['score'] == pytest.approx(0.2) and far['score'] == pytest.approx(0.6) and near['n'] == far['n'] == 2
    assert near['error'] == pytest.approx(torch.tensor([0.1, 0.3]).std() / 2**0.5)
    assert near['distance'][0] == 0 and near['distance'][1] == far['distance'][0] == pytest.approx(0.5)
    lonely = {'x': pairs, 'y': CropPairs(torch.tensor([0.5]), torch.tensor([0.2]))}
    assert score_by_distance(lonely, 2)['y'] == []


def test_features_are_what_the_last_linear_layer_reads():
    model = nn.Sequential(nn.Flatten(), nn.Linear(12, 5), nn.ReLU(), nn.Linear(5, 3))
    images = torch.randn(4, 3, 2, 2)
    logits, features = LinearScorer(model, model)(images)
    assert torch.equal(logits, model(images)) and torch.equal(features, model[:3](images))
    with pytest.raises(ValueError, match='must end in a linear layer, and Conv2d has none'):
        LinearScorer(nn.Conv2d(3, 3, 1), nn.Conv2d(3, 3, 1))
