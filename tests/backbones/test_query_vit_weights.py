"""Where QueryViT's weights come from: timm's files, checkpoints of ours, other image sizes, its own initialisation."""

import pytest
import timm
import torch
from mmengine.registry import DefaultScope
from timm.layers import resample_abs_pos_embed

from viewplug.backbones import QueryViT
from viewplug.registry import MODELS

NAME = 'vit_tiny_patch16_224'
SMALL = dict(img_size=32, patch_size=8, embed_dim=24, depth=2, num_heads=3)


def dino_file(path, **changes):
    """A network of timm's with random weights, saved as DINO's are: the bare state dict of a timm ViT."""
    torch.manual_seed(3)
    model = timm.create_model(NAME, num_classes=0, **{**SMALL, **changes}).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.2 * torch.randn_like(parameter)
    torch.save(model.state_dict(), path)
    return model


@torch.no_grad()
@pytest.mark.parametrize('way', ['init_cfg', 'checkpoint_path', 'load_state_dict'])
def test_a_released_vit_in_timms_layout_gives_timms_features(way, tmp_path):
    path = tmp_path / 'dino_deitsmall16_pretrain.pth'
    plain = dino_file(path)
    init_cfg = dict(type='Pretrained', checkpoint=str(path))
    how = dict(init_cfg=dict(init_cfg=init_cfg), checkpoint_path=dict(checkpoint_path=path)).get(way, {})
    model = MODELS.build(dict(type='viewplug.QueryViT', model_name=NAME, **SMALL, **how)).eval()
    model.init_weights()
    if way == 'load_state_dict':
        model.load_state_dict(torch.load(path))
    model.init_weights()  # a second call, as mmengine makes them, wipes nothing
    images = torch.randn(4, 3, 32, 32)
    expected, found = plain.forward_features(images), model(images)
    assert (found['cls'] - expected[:, 0]).abs().max() < 1e-5
    assert (found['patch'] - expected[:, 1:]).abs().max() < 1e-5
    assert (found['cls'] - plain(images)).abs().max() < 1e-5


@torch.no_grad()
def test_position_embeddings_of_another_image_size_are_resized(tmp_path):
    path = tmp_path / 'large.pth'
    plain = dino_file(path, img_size=64)
    model = QueryViT(NAME, **SMALL, init_cfg=dict(type='Pretrained', checkpoint=str(path)))
    model.init_weights()
    expected = resample_abs_pos_embed(plain.pos_embed, [4, 4], num_prefix_tokens=1)
    assert torch.allclose(model.pos_embed, expected, atol=1e-6)
    wide = QueryViT(NAME, **{**SMALL, 'img_size': (32, 64)})
    wide.load_state_dict(torch.load(path))
    assert torch.allclose(wide.pos_embed, resample_abs_pos_embed(plain.pos_embed, [4, 8], num_prefix_tokens=1))
    assert torch.load(path)['pos_embed'].shape == plain.pos_embed.shape


@torch.no_grad()
def test_a_checkpoint_of_ours_loads_by_its_prefix(tmp_path):
    first = QueryViT(NAME, **SMALL, mask_token=True)
    first.init_weights()
    first.mask_token += 1
    state = {f'backbone.{key}': value for key, value in first.state_dict().items()}
    torch.save(dict(state_dict=state, meta={}), tmp_path / 'epoch_1.pth')
    init_cfg = dict(type='Pretrained', checkpoint=str(tmp_path / 'epoch_1.pth'), prefix='backbone.')
    for changes in (dict(mask_token=True), dict(out='maps', out_indices=(0, 1))):
        model = QueryViT(NAME, **SMALL, init_cfg=init_cfg, **changes)
        model.init_weights()
        assert all(torch.equal(value, first.state_dict()[key]) for key, value in model.state_dict().items())


def test_another_depth_or_a_grid_that_is_no_square_is_torchs_error():
    state = QueryViT(NAME, **SMALL).state_dict()
    state['pos_embed'] = torch.zeros(1, 1 + 15, 24)
    with pytest.raises(RuntimeError, match='size mismatch for pos_embed'):
        QueryViT(NAME, **SMALL).load_state_dict(state)


def test_it_is_initialised_as_timms_and_once():
    model = MODELS.build(dict(type='viewplug.QueryViT', model_name=NAME, **SMALL, mask_token=True))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.fill_(7)
    model.init_weights()
    assert abs(model.blocks[0].mlp.fc1.weight.std() - 0.02) < 0.003 and (model.blocks[0].norm1.weight == 1).all()
    assert (model.mask_token == 0).all() and model.is_init
    before = model.pos_embed.clone()
    model.init_weights()
    assert torch.equal(before, model.pos_embed)


def test_a_detector_of_mmdet_takes_it_as_its_backbone():
    mmdet = pytest.importorskip('mmdet')
    from mmdet.registry import MODELS as DETECTORS

    settings = dict(type='viewplug.QueryViT', model_name=NAME, out='maps', out_indices=(0, 1), **SMALL)
    neck = dict(type='ChannelMapper', in_channels=[24, 24], out_channels=8)
    head = dict(
        type='FCOSHead', num_classes=2, in_channels=8, feat_channels=8, stacked_convs=1, strides=[8, 8], norm_cfg=None
    )
    with DefaultScope.overwrite_default_scope('mmdet'):
        detector = DETECTORS.build(dict(type='FCOS', backbone=settings, neck=neck, bbox_head=head))
        detector.init_weights()
    fine, coarse = detector.extract_feat(torch.zeros(1, 3, 64, 48))
    assert fine.shape == coarse.shape == (1, 8, 8, 6), mmdet.__version__
