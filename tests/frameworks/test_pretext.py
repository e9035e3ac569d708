"""Pretext tasks: transformations undone by hand, losses written out, permutations against a plain search."""

import itertools
import math

import numpy as np
import pytest
import torch
from mmengine.dist import get_rank
from processes import in_processes
from torch.nn.parallel import DistributedDataParallel
from toys import ToyBackbone

from viewplug.frameworks import JigsawTask, Pretext, RelativePositionTask, RotationTask
from viewplug.frameworks.permutations import distant_permutations


def numbered(images: int, size: int = 8) -> torch.Tensor:
    """Patches whose every pixel is their number along rows."""
    number = torch.arange(9.0).view(1, 3, 3, 1, 1, 1).expand(images, 3, 3, 3, size, size)
    return number.clone()


def a_model(task, batch_norm: bool = False, **changes) -> Pretext:
    return Pretext(backbone=ToyBackbone(batch_norm=batch_norm), task=task, **changes)


def test_all_four_turns_of_each_image_are_in_the_batch_under_their_labels():
    images = torch.randn(3, 3, 8, 8)
    parts, labels = RotationTask()(images)
    assert parts.shape == (12, 1, 3, 8, 8) and labels.tolist() == [0] * 3 + [1] * 3 + [2] * 3 + [3] * 3
    for i, (part, turns) in enumerate(zip(parts[:, 0], labels.tolist(), strict=True)):
        plain = images[i % 3].numpy()
        for _ in range(turns):  # a quarter counter-clockwise: columns, the last first, become rows
            plain = np.stack([plain[:, :, -1 - column] for column in range(8)], axis=1)
        assert np.array_equal(part.numpy(), plain)


def test_tiles_lie_in_the_order_of_the_label_and_every_order_comes_as_often():
    task = JigsawTask(num_permutations=6, standardize=False)
    counts = torch.zeros(6)
    for _ in range(40):
        parts, labels = task(numbered(30))
        assert torch.equal(parts[..., 0, 0, 0].long(), task.permutations[labels])
        counts += torch.bincount(labels, minlength=6)
    assert ((counts - 200) ** 2 / 200).sum() < 25  # chi-square, 5 degrees: 1e-4


def test_a_label_can_be_undone_to_the_image():
    patches = torch.randn(5, 3, 3, 3, 4, 4)
    task = JigsawTask(num_permutations=24, standardize=False)
    parts, labels = task(patches)
    inverse = task.permutations[labels].argsort(dim=1)
    restored = torch.stack([part[order] for part, order in zip(parts, inverse, strict=True)])
    assert torch.equal(restored.unflatten(1, (3, 3)), patches)


def test_standardised_tiles_do_not_tell_their_light():
    parts, _ = JigsawTask(num_permutations=4)(torch.randn(4, 3, 3, 3, 8, 8) * 7 + torch.randn(4, 3, 3, 3, 1, 1) * 50)
    assert parts.mean(dim=(-2, -1)).abs().max() < 1e-4
    assert torch.allclose(parts.std(dim=(-2, -1)), torch.ones(4, 9, 3), atol=1e-3)
    flat, _ = JigsawTask(num_permutations=4)(torch.ones(1, 3, 3, 3, 8, 8))
    assert torch.equal(flat, torch.zeros_like(flat))


def test_the_neighbour_is_where_the_label_says():
    parts, labels = RelativePositionTask()(numbered(200))
    assert (parts[:, 0] == 4).all()
    places = [0, 1, 2, 3, 5, 6, 7, 8]
    assert parts[:, 1, 0, 0, 0].tolist() == [places[label] for label in labels.tolist()]
    assert len(labels.unique()) == 8


@pytest.mark.parametrize('length', [3, 4])
def test_the_permutations_are_those_of_a_plain_greedy_search(length):
    number = 5
    found = [tuple(row) for row in distant_permutations(length, number, seed=3).tolist()]
    assert len(set(found)) == number

    def distance(a, b):
        return sum(x != y for x, y in zip(a, b, strict=True))

    everyone = list(itertools.permutations(range(length)))
    for k in range(1, number):
        sums = {p: sum(distance(p, q) for q in found[:k]) for p in everyone if p not in found[:k]}
        assert sums[found[k]] == max(sums.values())


def test_the_set_is_deterministic_depends_on_the_seed_and_a_longer_one_starts_with_the_shorter():
    a, b = distant_permutations(5, 10, seed=1), distant_permutations(5, 30, seed=1)
    assert torch.equal(a, b[:10]) and not torch.equal(a, distant_permutations(5, 10, seed=2))
    assert (a.sort(dim=1).values == torch.arange(5)).all()
    assert distant_permutations(4, 3).tolist() == [[0, 3, 1, 2], [3, 0, 2, 1], [1, 2, 0, 3]]


def test_nine_tiles_have_a_hundred_orders_far_apart():
    orders = distant_permutations(9, 100)
    distance = (orders[:, None] != orders[None]).sum(dim=-1)
    others = distance[~torch.eye(100, dtype=torch.bool)]
    assert others.float().mean() > 8.05 and others.min() >= 2  # two random ones differ in 8 places on average
    assert len({tuple(row) for row in orders.tolist()}) == 100


def test_all_permutations_can_be_asked_for_and_no_more():
    assert len({tuple(row) for row in distant_permutations(4, 24).tolist()}) == 24
    with pytest.raises(ValueError, match=r'between 1 and 4! = 24, got 25'):
        distant_permutations(4, 25)
    with pytest.raises(ValueError, match='length must lie between 2 and 9, got 10'):
        distant_permutations(10, 5)


def test_the_set_is_in_the_checkpoint():
    state = a_model(JigsawTask(num_permutations=4, seed=1)).state_dict()
    other = a_model(JigsawTask(num_permutations=4, seed=2))
    other.load_state_dict(state)
    assert torch.equal(other.task.permutations, distant_permutations(9, 4, seed=1))


def test_the_loss_is_the_cross_entropy_of_the_parts_side_by_side():
    model = a_model(JigsawTask(num_permutations=5), part_channels=6, hidden_channels=7).double()
    patches = torch.randn(4, 3, 3, 3, 16, 16).double()
    torch.manual_seed(3)
    found = model(patches=patches, mode='loss')
    torch.manual_seed(3)
    parts, labels = model.task(patches)
    terms, right = [], 0
    for example, label in zip(parts, labels.tolist(), strict=True):
        vectors = [model.part_fc(model.backbone(part[None])[0].mean(dim=(2, 3)))[0] for part in example]
        logits = model.classifier(torch.cat(vectors)).tolist()
        terms.append(math.log(sum(math.exp(x) for x in logits)) - logits[label])
        right += max(range(5), key=logits.__getitem__) == label
    assert found['loss'].item() == pytest.approx(sum(terms) / 4)
    assert found['accuracy'].item() == pytest.approx(100 * right / 4)


@pytest.mark.parametrize(
    ('task', 'batch'),
    [
        (RotationTask(), dict(inputs=torch.randn(4, 3, 16, 16))),
        (JigsawTask(num_permutations=3), dict(patches=torch.randn(4, 3, 3, 3, 16, 16))),
        (RelativePositionTask(), dict(patches=torch.randn(4, 3, 3, 3, 16, 16))),
    ],
    ids=['rotation', 'jigsaw', 'relative position'],
)
def test_every_task_learns_images_by_heart(task, batch):
    model = a_model(task, part_channels=32, hidden_channels=32)
    optimiser = torch.optim.Adam(model.parameters(), lr=1e-2)
    losses = []
    for _ in range(60):
        loss = model(**batch, mode='loss')['loss']
        optimiser.zero_grad()
        loss.backward()
        assert all(p.grad is not None for p in model.parameters())
        optimiser.step()
        losses.append(loss.item())
    assert sum(losses[-5:]) / 5 < 0.85 * losses[0]
    assert model.latest['parts']['online'][0].dim() == 2


def a_step(images: torch.Tensor, share: bool):
    torch.manual_seed(1)
    model = a_model(RotationTask(), hidden_channels=8).double()
    if share:
        model, images = DistributedDataParallel(model), images.chunk(2)[get_rank()]
    loss = model(images, None, mode='loss')['loss']
    loss.backward()
    return loss.item(), [p.grad.clone() for p in model.parameters()]


def test_two_processes_have_the_loss_and_gradients_of_one(tmp_path):
    images = torch.randn(4, 3, 16, 16).double()
    loss, gradients = a_step(images, share=False)
    ranks = in_processes(a_step, tmp_path, images, True)
    assert sum(each for each, _ in ranks) / 2 == pytest.approx(loss, rel=1e-10) and ranks[0][0] != ranks[1][0]
    for _, found in ranks:
        assert all(torch.allclose(a, b, rtol=1e-9, atol=1e-12) for a, b in zip(found, gradients, strict=True))


@pytest.mark.parametrize(
    ('call', 'sentence'),
    [
        (lambda: a_model(RotationTask())(torch.zeros(1, 3, 8, 9), mode='loss'), 'must be square, got 8 x 9'),
        (
            lambda: a_model(RotationTask())([torch.zeros(1, 3, 8, 8)], mode='loss'),
            'RotationTask needs a batch with inp',
        ),
        (lambda: a_model(JigsawTask(4))(torch.zeros(1, 3, 8, 8), mode='loss'), 'JigsawTask needs .* patches, got inp'),
        (lambda: JigsawTask(4)(torch.zeros(1, 2, 3, 3, 8, 8)), r'JigsawTask needs patches \(N, 3, 3, .* got \(1, 2, 3'),
        (lambda: RelativePositionTask()(torch.zeros(1, 4, 3, 3, 8, 8)), r'RelativePositionTask needs .* got \(1, 4, 3'),
        (lambda: a_model(RotationTask())(mode='predict'), "mode must be 'loss' or 'tensor', got 'predict'"),
    ],
)
def test_what_makes_no_sense_is_named(call, sentence):
    with pytest.raises(ValueError, match=sentence):
        call()


def test_parts_of_a_size_that_the_backbone_cannot_take_are_named():
    with pytest.raises(
        ValueError, match='cannot take patches of 4 x 4 px .*set another patch_size of viewplug.PatchGrid'
    ):
        a_model(JigsawTask(4)).loss({'patches': torch.randn(2, 3, 3, 3, 4, 4)})
    with pytest.raises(ValueError, match='cannot take inputs of 4 x 4 px .*set another scale of the crop'):
        a_model(RotationTask()).loss({'inputs': torch.randn(2, 3, 4, 4)})
