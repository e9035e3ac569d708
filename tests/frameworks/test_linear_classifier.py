"""A classifier on tokens reads what kNN reads."""

import pytest
import torch
from mmengine.registry import DefaultScope

from viewplug.backbones import pooled
from viewplug.frameworks import LinearClassifier

SIZES = dict(img_size=16, patch_size=4, embed_dim=12, depth=1, num_heads=3)
TIMM = dict(type='TIMMBackbone', model_name='vit_tiny_patch16_224', **SIZES)
ARCH = dict(embed_dims=12, num_layers=1, num_heads=3, feedforward_channels=24)
MMPRETRAIN = dict(type='VisionTransformer', arch=ARCH, img_size=16, patch_size=4)


@pytest.mark.parametrize('backbone', [TIMM, dict(MMPRETRAIN, out_type='raw'), MMPRETRAIN], ids=['timm', 'raw', 'cls'])
def test_the_head_gets_one_vector_an_image(backbone):
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        model = LinearClassifier(backbone, head=dict(type='LinearClsHead', num_classes=3, in_channels=12)).train()
    images = torch.randn(2, 3, 16, 16)
    features = pooled(model.extract_feat(images, stage='backbone'))
    assert features.shape == (2, 12)
    assert torch.equal(model.extract_feat(images)[-1], features)
    assert torch.equal(model.extract_feat(images, stage='pre_logits'), features)
    assert torch.allclose(model(images), model.head.fc(features))
