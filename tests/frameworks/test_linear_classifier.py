"""Classifiers on tokens read what kNN reads, frozen or not."""

import pytest
import torch
from mmengine.registry import MODELS, DefaultScope
from mmpretrain.models import ImageClassifier
from mmpretrain.structures import DataSample
from toys import ToyBackbone, toy_resnet

from viewplug.backbones import pooled
from viewplug.frameworks import LinearClassifier, TunedLinearClassifier

SIZES = dict(img_size=16, patch_size=4, embed_dim=12, depth=1, num_heads=3)
TIMM = dict(type='TIMMBackbone', model_name='vit_tiny_patch16_224', **SIZES)
ARCH = dict(embed_dims=12, num_layers=1, num_heads=3, feedforward_channels=24)
MMPRETRAIN = dict(type='VisionTransformer', arch=ARCH, img_size=16, patch_size=4)


@pytest.mark.parametrize('kind', [LinearClassifier, TunedLinearClassifier])
@pytest.mark.parametrize('backbone', [TIMM, dict(MMPRETRAIN, out_type='raw'), MMPRETRAIN], ids=['timm', 'raw', 'cls'])
def test_the_head_gets_one_vector_an_image(backbone, kind):
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        model = kind(backbone, head=dict(type='LinearClsHead', num_classes=3, in_channels=12)).train()
    images = torch.randn(2, 3, 16, 16)
    features = pooled(model.extract_feat(images, stage='backbone'))
    assert features.shape == (2, 12)
    assert torch.equal(model.extract_feat(images)[-1], features)
    assert torch.equal(model.extract_feat(images, stage='pre_logits'), features)
    assert torch.allclose(model(images), model.head.fc(features))


def test_one_that_learns_is_mmpretrains_on_a_resnet():
    samples = [DataSample().set_gt_label(label) for label in (0, 2)]
    states, losses = [], []
    for kind in (ImageClassifier, TunedLinearClassifier):
        torch.manual_seed(0)
        with DefaultScope.overwrite_default_scope('mmpretrain'):
            head = dict(type='LinearClsHead', num_classes=3, in_channels=64)
            model = kind(toy_resnet(), neck=dict(type='GlobalAveragePooling'), head=head).train()
        loss = model.loss(torch.randn(2, 3, 32, 32), samples)['loss']
        loss.backward()
        states.append({**model.state_dict(), **{f'{k} grad': p.grad for k, p in model.named_parameters()}})
        losses.append(loss)
    assert torch.equal(*losses) and list(states[0]) == list(states[1])
    assert all(torch.equal(states[0][key], states[1][key]) for key in states[0])


@pytest.mark.parametrize(
    'given', [lambda z: z, lambda z: [z, z], lambda z: dict(cls=z, other=z)], ids=['vector', 'list', 'mapping']
)
def test_whatever_a_module_gives_the_head_gets_one_vector_an_image(given):
    class Gives(ToyBackbone):
        def forward(self, images):
            return given(self.layers(images).mean((2, 3)))

    MODELS.register_module(module=Gives, force=True)
    head = dict(type='mmpretrain.LinearClsHead', num_classes=3, in_channels=8)
    model = LinearClassifier(dict(type='Gives'), head=head)
    images = torch.randn(2, 3, 16, 16)
    assert torch.allclose(model(images), model.head.fc(pooled(model.backbone(images))))


def test_a_mapping_without_an_entry_of_the_whole_image_is_refused():
    class Dense(ToyBackbone):
        def forward(self, images):
            return dict(dense=self.layers(images))

    MODELS.register_module(module=Dense, force=True)
    head = dict(type='mmpretrain.LinearClsHead', num_classes=3, in_channels=8)
    with pytest.raises(ValueError, match='the backbone gives dense, and one vector an image is read from cls'):
        LinearClassifier(dict(type='Dense'), head=head)(torch.randn(2, 3, 16, 16))


@pytest.mark.parametrize('kind', ['ResNett', 'mmpretrain.ResNett'])
def test_an_unknown_backbone_is_said_by_its_name_whatever_its_init_cfg(kind):
    head = dict(type='mmpretrain.LinearClsHead', num_classes=3, in_channels=8)
    with pytest.raises(KeyError, match=f'{kind} is not in the .* registry'):
        LinearClassifier(dict(type=kind, init_cfg=dict(type='Pretrained', checkpoint='a')), head=head)


def test_weights_come_into_a_backbone_that_knows_no_init_cfg(tmp_path):
    trained = ToyBackbone()
    torch.save(
        dict(state_dict={f'backbone.{key}': value for key, value in trained.state_dict().items()}), tmp_path / 'a'
    )
    init = dict(type='Pretrained', checkpoint=str(tmp_path / 'a'), prefix='backbone.')
    head = dict(type='mmpretrain.LinearClsHead', num_classes=3, in_channels=8)
    MODELS.register_module(module=ToyBackbone, force=True)
    model = LinearClassifier(dict(type='ToyBackbone', init_cfg=init), head=head)
    model.init_weights()
    for key, value in trained.state_dict().items():
        assert torch.equal(model.backbone.state_dict()[key], value)
