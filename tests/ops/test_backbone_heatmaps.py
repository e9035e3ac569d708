"""What is read off a running backbone, against what the backbone computes itself."""

import pytest
import torch
from mmpretrain.registry import MODELS
from torch import nn
from toys import ToyBackbone, toy_resnet

from viewplug.backbones import QueryViT
from viewplug.ops.backbone_heatmaps import HeatmapProbe

ARCH = dict(embed_dims=24, num_layers=2, num_heads=3, feedforward_channels=48)


def probed(backbone, kind, images):
    found = []
    with HeatmapProbe(backbone, kind, lambda heatmap, inputs: found.append((heatmap, inputs))):
        output = backbone(images)
    ((heatmap, inputs),) = found
    assert inputs is images and not heatmap.requires_grad
    return heatmap, output


def vit(**changes):
    settings = dict(type='mmpretrain.VisionTransformer', arch=ARCH, img_size=(32, 48), patch_size=8)
    model = MODELS.build({**settings, **changes})
    model.init_weights()
    model.eval()
    return model


def timm_vit(**changes):
    import timm

    settings = dict(img_size=(32, 48), patch_size=8, embed_dim=24, depth=2, num_heads=3, num_classes=0)
    return timm.create_model('vit_tiny_patch16_224', pretrained=False, **{**settings, **changes}).eval()


def slow_attention(block, tokens, extra):
    """softmax(q k^T / sqrt(d)) of the class token, from the block's input, head by head."""
    norm = block.ln1 if hasattr(block, 'ln1') else block.norm1
    attn = block.attn
    dim = tokens.shape[2] // attn.num_heads
    weight, bias = attn.qkv.weight, attn.qkv.bias
    rows = []
    for image in norm(tokens):
        total = 0
        for head in range(attn.num_heads):
            part = slice(head * dim, (head + 1) * dim)
            query = image[0] @ weight[:24][part].T + bias[:24][part]
            keys = image @ weight[24:48][part].T + bias[24:48][part]
            total = total + torch.softmax(keys @ query / dim**0.5, dim=0)
        rows.append(total[extra:] / attn.num_heads)
    return torch.stack(rows)


@torch.no_grad()
@pytest.mark.parametrize('build', [vit, timm_vit], ids=['mmpretrain', 'timm'])
def test_attention_is_that_of_the_class_token_in_the_last_block(build):
    model, images = build(), torch.randn(3, 3, 32, 48)
    block = (model.layers if hasattr(model, 'layers') else model.blocks)[-1]
    seen = []
    handle = block.register_forward_hook(lambda module, inputs, output: seen.append(inputs[0]))
    heatmap, _ = probed(model, 'attention', images)
    handle.remove()
    assert heatmap.shape == (3, 4, 6)
    assert torch.allclose(heatmap.flatten(1), slow_attention(block, seen[0], 1), atol=1e-6)
    assert (heatmap.sum(dim=(1, 2)) < 1).all()
    assert torch.equal(probed(model, 'auto', images)[0], heatmap)


@torch.no_grad()
@pytest.mark.parametrize('kind', ['auto', 'token_norm'])
@pytest.mark.parametrize('out', ['mapping', 'maps', 'cls'])
def test_query_vit_shows_what_timms_vit_shows_with_and_without_queries(kind, out):
    settings = dict(img_size=(32, 48), patch_size=8, embed_dim=24, depth=2, num_heads=3)
    model, plain, images = (
        QueryViT('vit_tiny_patch16_224', out=out, **settings).eval(),
        timm_vit(),
        torch.randn(3, 3, 32, 48),
    )
    plain.load_state_dict(model.state_dict())
    expected, _ = probed(plain, kind, images)
    assert torch.allclose(probed(model, kind, images)[0], expected, atol=1e-5)
    if out == 'mapping':
        found = []
        with HeatmapProbe(model, kind, lambda heatmap, inputs: found.append(heatmap)):
            model(images, queries=torch.randn(3, 4, 3, 8, 8))
        assert torch.allclose(found[0], expected, atol=1e-5)


@torch.no_grad()
def test_token_norms_are_lengths_of_the_last_blocks_patch_tokens():
    model, images = vit(out_type='featmap', final_norm=False), torch.randn(2, 3, 32, 48)
    heatmap, (maps,) = probed(model, 'token_norm', images)
    assert torch.allclose(heatmap, maps.norm(dim=1), atol=1e-5)


@torch.no_grad()
def test_registers_without_a_class_token_are_skipped():
    model, images = timm_vit(class_token=False, reg_tokens=2, global_pool='avg'), torch.randn(2, 3, 32, 48)
    heatmap, _ = probed(model, 'auto', images)
    assert heatmap.shape == (2, 4, 6)
    seen = []
    model.blocks[-1].register_forward_hook(lambda module, inputs, output: seen.append(output))
    model(images)
    assert torch.allclose(heatmap.flatten(1), seen[0][:, 2:].norm(dim=2), atol=1e-5)


def test_a_cnn_gives_the_channel_sum_of_its_last_stage():
    model, images = MODELS.build({**toy_resnet(), 'type': 'mmpretrain.ResNet'}), torch.randn(2, 3, 64, 64)
    heatmap, stages = probed(model, 'auto', images)
    assert heatmap.shape == (2, 2, 2)
    assert torch.allclose(heatmap, sum(stages[-1][:, c] for c in range(64)), atol=1e-5)


def test_a_removed_probe_leaves_no_hook_behind():
    model = vit()
    HeatmapProbe(model, 'attention', print).remove()
    assert not any(module._forward_hooks for module in model.modules())


def test_what_a_backbone_cannot_give_is_named():
    images = torch.randn(1, 3, 32, 48)
    with pytest.raises(ValueError, match='heatmap must be one of.*saliency'):
        HeatmapProbe(ToyBackbone(), 'saliency', print)
    with pytest.raises(ValueError, match="heatmap='attention'.*ToyBackbone has none"):
        HeatmapProbe(ToyBackbone(), 'attention', print)
    with pytest.raises(ValueError, match='token_norm'):
        HeatmapProbe(timm_vit(class_token=False, global_pool='avg'), 'attention', print)
    with pytest.raises(ValueError, match="last output of VisionTransformer has the shape .1, 24.*'token_norm'"):
        probed(vit(), 'features', images)
    with pytest.raises(ValueError, match="last output of QueryViT has the shape .1, 6, 192.*'token_norm'"):
        probed(QueryViT('vit_tiny_patch16_224', depth=1), 'features', torch.randn(1, 3, 32, 48))
    model = vit()
    model.num_extra_tokens = 0
    with pytest.raises(ValueError, match='25 patch tokens of an image of 32 x 48 px make no grid'):
        probed(model, 'token_norm', images)
    with pytest.raises(ValueError, match='last output of Flatten'):
        probed(nn.Flatten(), 'features', images)
