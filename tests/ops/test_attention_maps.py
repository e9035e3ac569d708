"""Attention of class token and queries against softmax written out, query by query."""

import pytest
import torch

from viewplug.backbones import QueryViT
from viewplug.ops.attention_maps import attention_maps
from viewplug.ops.backbone_heatmaps import HeatmapProbe

SMALL = dict(img_size=(32, 48), patch_size=8, embed_dim=24, depth=2, num_heads=3)


def slow_maps(model, tokens, raw, row, full):
    """Of the token ``row`` in the last block, from the block's input; (N, heads, patches)."""
    block, found = model.blocks[-1], []
    parts = torch.nn.functional.linear(block.norm1(tokens), block.attn.qkv.weight, block.attn.qkv.bias).chunk(3, -1)
    seen = list(range(tokens.shape[1] if full else raw)) + [row] * (row >= raw and not full)
    for image in range(len(tokens)):
        for head in range(3):
            q, k = (part[image, :, head * 8 : head * 8 + 8] for part in parts[:2])
            found.append(torch.softmax(k[seen] @ q[row] / 8**0.5, dim=0)[model.num_prefix_tokens : raw])
    return torch.stack(found).view(len(tokens), 3, -1)


@torch.no_grad()
@pytest.mark.parametrize('changes', [dict(), dict(query_attention='full'), dict(reg_tokens=2)], ids=str)
def test_they_are_the_weights_of_the_last_block(changes):
    torch.manual_seed(0)
    model = QueryViT('vit_tiny_patch16_224', **SMALL, **changes).eval()
    for parameter in model.parameters():
        parameter += 0.3 * torch.randn_like(parameter)
    images, queries = torch.randn(2, 3, 32, 48), torch.randn(2, 4, 3, 8, 8)
    inputs = []
    handle = model.blocks[-1].register_forward_hook(lambda module, args, output: inputs.append(args[0]))
    cls, query = attention_maps(model, images, queries)
    handle.remove()
    assert cls.shape == (2, 3, 4, 6) and query.shape == (2, 4, 3, 4, 6)
    raw, full = 24 + model.num_prefix_tokens, model.query_attention == 'full'
    assert torch.allclose(cls.flatten(2), slow_maps(model, inputs[0], raw, 0, full), atol=1e-5)
    for k in range(4):
        assert torch.allclose(query[:, k].flatten(2), slow_maps(model, inputs[0], raw, raw + k, full), atol=1e-5)


@torch.no_grad()
def test_the_mean_of_the_class_tokens_heads_is_contrastive_crops_heat_map():
    model, images, found = QueryViT('vit_tiny_patch16_224', **SMALL).eval(), torch.randn(2, 3, 32, 48), []
    with HeatmapProbe(model, 'attention', lambda heatmap, inputs: found.append(heatmap)):
        cls, _ = attention_maps(model, images, torch.randn(2, 1, 3, 8, 8))
    assert torch.allclose(cls.mean(dim=1), found[0], atol=1e-6)
    assert not model.blocks[-1].attn.qkv._forward_hooks
