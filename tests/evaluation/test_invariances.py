"""Table 3's tasks change what they say, and probes find what is there and nothing else."""

import numpy as np
import pytest
import torch
from torch import nn
from toys import toy_siamese

from viewplug.evaluation.invariances import TASKS, probe_invariances, representations, transformed
from viewplug.evaluation.logistic import PROBES, probe_accuracy


def pictures(number: int, size: int = 12) -> torch.Tensor:
    """Darker to the right and downwards, coloured, with noise."""
    ramp = torch.linspace(200, 60, size)
    base = (ramp[None, :] + ramp[:, None]) / 2 + torch.tensor([0.0, 20.0, 40.0])[:, None, None]
    return (base + 8 * torch.randn(number, 3, size, size)).clamp(0, 255).to(torch.uint8)


def test_each_label_says_what_was_done_to_the_image():
    images = pictures(400)
    generator = torch.Generator().manual_seed(0)
    changed = {name: transformed(task, images, generator) for name, task in TASKS.items()}
    found, turns = changed['rotation']
    for image, original, turn in zip(found[:40], images[:40].float(), turns[:40].tolist(), strict=True):
        assert torch.equal(image, original.rot90(turn, (1, 2)))
    assert torch.bincount(turns).min() > 70
    for name, share in dict(color=0.2, noise=0.5, sobel=0.5).items():
        found, labels = changed[name]
        same = (found == images.float()).flatten(1).all(dim=1)
        assert torch.equal(same, labels == 0)
        assert labels.float().mean() == pytest.approx(share, abs=0.08)
    grey, labels = changed['color']
    assert torch.equal(grey[labels == 1][:, 0], grey[labels == 1][:, 2])
    assert images.dtype == torch.uint8


@pytest.mark.parametrize('probe', PROBES)
def test_probes_find_what_is_there_at_any_scale_and_guess_where_nothing_is(probe):
    labels = torch.arange(600) % 3
    told = 1e-4 * (nn.functional.one_hot(labels, 3) + 0.2 * torch.randn(600, 3))
    train, tried = slice(0, 400), slice(400, 600)
    assert probe_accuracy(told[train], labels[train], told[tried], labels[tried], probe) > 95
    nothing = torch.randn(600, 3)
    assert probe_accuracy(nothing[train], labels[train], nothing[tried], labels[tried], probe) < 50


class Corners(nn.Module):
    """Features that tell a rotation and no colour: mean grey of the four quarters of an image."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1))

    def forward(self, images):
        return (nn.functional.adaptive_avg_pool2d(images.mean(dim=1, keepdim=True), 2).flatten(1) * self.weight,)


class Total(nn.Module):
    """What no rotation changes."""

    def forward(self, features):
        return (features[0].sum(dim=1, keepdim=True),)


def test_h_tells_a_rotation_that_g_throws_away():
    model = nn.Module()
    model.backbone = Corners()
    (row,) = probe_invariances(model, pictures(300), pictures(200), Total(), tasks=('rotation',))
    assert row['h'] > 95 and row['gh'] < 40 and row['guess'] < 40
    (alone,) = probe_invariances(model, pictures(40), pictures(20), tasks=('rotation',))
    assert 'gh' not in alone


def test_representations_are_the_models_own_frozen_and_preprocessed():
    model = toy_siamese(data_preprocessor=dict(mean=[10.0, 20.0, 30.0], std=[50.0, 60.0, 70.0], to_rgb=True))
    model.train()
    images = pictures(5, size=16)
    h, g = representations(model, images, model.branches['image'].neck, batch_size=2)
    rgb = images.flip(1).float()
    normal = (rgb - torch.tensor([10.0, 20.0, 30.0]).view(3, 1, 1)) / torch.tensor([50.0, 60.0, 70.0]).view(3, 1, 1)
    with torch.no_grad():
        assert torch.allclose(h, model.backbone(normal)[-1].mean(dim=(2, 3)), atol=1e-5)
        assert torch.allclose(g, model.encode(normal)['image'], atol=1e-5)
    assert model.training and not h.requires_grad


def test_unknown_tasks_and_probes_and_a_single_class_are_refused():
    model = nn.Module()
    model.backbone = Corners()
    with pytest.raises(ValueError, match='--tasks are some of color, rotation, noise, sobel, got blur'):
        probe_invariances(model, pictures(4), pictures(4), tasks=('blur',))
    features, labels = torch.randn(4, 2), torch.tensor([0, 1, 0, 1])
    with pytest.raises(ValueError, match="probe must be one of logistic, mlp, got 'tree'"):
        probe_accuracy(features, labels, features, labels, 'tree')
    with pytest.raises(ValueError, match='two classes at least'):
        probe_accuracy(features, labels * 0, features, labels)
    assert np.isfinite(probe_accuracy(features, labels, features, labels))
