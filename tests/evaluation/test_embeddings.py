"""What can be read off a network by name."""

import pytest
import torch
from torch import nn
from toys import ToyBackbone, hcl_branch, mlp_branch, toy_resnet, toy_siamese

from viewplug.evaluation.embeddings import choose, embed, sources_of

IMAGES = torch.randn(3, 3, 64, 64)


def hcl():
    return toy_siamese(backbone=toy_resnet(), branches=dict(image=hcl_branch(), plain=mlp_branch())).eval()


def test_sources_are_the_backbone_the_branches_and_their_parts_all_of_unit_length():
    model = hcl()
    rows = embed(model, IMAGES)
    assert list(rows) == sources_of(model) == ['backbone', 'image.semantic', 'image.spatial', 'plain']
    assert [row.shape for row in rows.values()] == [(3, 64), (3, 16), (3, 16), (3, 16)]
    assert all(torch.allclose(row.norm(dim=1), torch.ones(3), atol=1e-5) for row in rows.values())
    z = model.encode(IMAGES)['image']
    assert torch.allclose(torch.cat([rows['image.semantic'], rows['image.spatial']], dim=1), z, atol=1e-5)


def test_the_target_encoder_reads_its_own_weights():
    model = hcl()
    with torch.no_grad():
        for parameter in model.target.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    online, target = embed(model, IMAGES), embed(model, IMAGES, 'target')
    assert list(online) == list(target)
    assert all(not torch.allclose(online[name], target[name]) for name in online)


class Entries(ToyBackbone):
    """Of one width, so that the wrong one would pass."""

    def forward(self, images):
        (found,) = super().forward(images)
        return dict(cls=found.mean((2, 3)), dense=found.square().flatten(2).transpose(1, 2), query=None)


def test_a_branch_is_embedded_from_the_entry_that_it_reads():
    branches = dict(image=mlp_branch(), dense=mlp_branch(reads='dense'))
    model = toy_siamese(backbone=Entries(), branches=branches).eval()
    rows, encoded = embed(model, IMAGES), model.encode(IMAGES)
    assert torch.allclose(rows['image'], encoded['image'], atol=1e-6)
    means = encoded['dense'].unflatten(0, (3, -1)).mean(dim=1)
    assert torch.allclose(rows['dense'], nn.functional.normalize(means, dim=1), atol=1e-6)


def test_a_model_without_branches_has_a_backbone_and_perhaps_a_neck():
    model = nn.Module()
    model.backbone = nn.Conv2d(3, 4, 8, stride=8)
    assert list(embed(model, IMAGES)) == sources_of(model) == ['backbone']
    model.neck = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2))
    assert embed(model, IMAGES)['neck'].shape == (3, 2) and sources_of(model) == ['backbone', 'neck']


def test_names_are_joined_shortened_and_stand_for_all_parts():
    sources = ['backbone', 'image.semantic', 'image.spatial', 'region']
    halves = 'image.semantic', 'image.spatial'
    assert choose(['semantic+spatial', 'image', 'backbone+region'], sources) == {
        'semantic+spatial': halves,
        'image': halves,
        'backbone+region': ('backbone', 'region'),
    }
    assert list(choose(None, sources)) == ['image.semantic', 'image.spatial', 'region', 'image', 'backbone']
    with pytest.raises(ValueError, match="no embedding 'spatal'; choose from backbone, image.semantic"):
        choose(['spatal'], sources)
