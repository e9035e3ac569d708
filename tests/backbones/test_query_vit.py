"""QueryViT against timm's own forward, and against attention with an explicit mask."""

import copy

import pytest
import timm
import torch
from torch.utils.flop_counter import FlopCounterMode

from viewplug.backbones import QueryViT

SMALL = dict(img_size=32, patch_size=8, embed_dim=24, depth=3, num_heads=3)
NAME = 'vit_tiny_patch16_224'


def vit(**changes) -> QueryViT:
    torch.manual_seed(0)
    model = QueryViT(NAME, **{**SMALL, **changes})
    model.init_weights()
    return varied(model).eval()


def varied(model):
    """Biases, class token and norms away from their initial values, so that none can be forgotten."""
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.3 * torch.randn_like(parameter)
    return model


def timm_vit(**changes):
    return timm.create_model(NAME, num_classes=0, **{**SMALL, **changes}).eval()


def batch(queries: int, size: int = 32, number: int = 2):
    torch.manual_seed(1)
    images = torch.randn(number, 3, size, size)
    return images, torch.randn(number, queries, 3, 8, 8)


@torch.no_grad()
def masked_reference(model: QueryViT, images, queries):
    """The same network with one (L + Q) x (L + Q) mask, every attention weight written out."""
    tokens = model._pos_embed(model.patch_embed(images))
    embedded = torch.stack([model.patch_embed(image_queries).flatten(1) for image_queries in queries])
    raw, tokens = tokens.shape[1], torch.cat([tokens, embedded], dim=1)
    length = tokens.shape[1]
    allowed = torch.zeros(length, length, dtype=torch.bool)
    allowed[:, :raw] = True
    allowed |= torch.eye(length, dtype=torch.bool)
    for block in model.blocks:
        heads, dim = block.attn.num_heads, tokens.shape[2] // block.attn.num_heads
        parts = torch.nn.functional.linear(block.norm1(tokens), block.attn.qkv.weight, block.attn.qkv.bias).chunk(3, -1)
        q, k, v = (part.view(len(images), length, heads, dim).transpose(1, 2) for part in parts)
        scores = (q @ k.transpose(2, 3) / dim**0.5).masked_fill(~allowed, -torch.inf)
        mixed = (scores.softmax(-1) @ v).transpose(1, 2).flatten(2)
        tokens = tokens + block.attn.proj(mixed)
        tokens = tokens + block.mlp(block.norm2(tokens))
    tokens = model.norm(tokens)
    return tokens[:, 0], tokens[:, 1:raw], tokens[:, raw:]


@torch.no_grad()
def test_it_equals_attention_with_an_explicit_mask():
    model = vit()
    images, queries = batch(5)
    found = model(images, queries)
    for name, expected in zip(('cls', 'patch', 'query'), masked_reference(model, images, queries), strict=True):
        assert torch.allclose(found[name], expected, atol=1e-5), name


@torch.no_grad()
@pytest.mark.parametrize('number', [0, 1, 10, 50])
@pytest.mark.parametrize('size', [32, 48])
def test_raw_outputs_are_timms_whatever_the_queries(number, size):
    model, plain = vit(), timm_vit(dynamic_img_size=True)
    plain.load_state_dict(model.state_dict())
    images, queries = batch(number, size)
    expected = plain.forward_features(images)
    found = model(images, queries)
    assert torch.allclose(found['cls'], expected[:, 0], atol=1e-5)
    assert torch.allclose(found['patch'], expected[:, 1:], atol=1e-5)
    assert found['query'].shape == (2, number, 24)
    assert set(model(images)) == {'cls', 'patch'}


@torch.no_grad()
def test_a_query_changes_no_other_output():
    model = vit()
    images, queries = batch(6)
    before = model(images, queries)
    queries[:, 2] += 1
    after = model(images, queries)
    others = [0, 1, 3, 4, 5]
    assert torch.equal(before['cls'], after['cls']) and torch.equal(before['patch'], after['patch'])
    assert torch.allclose(before['query'][:, others], after['query'][:, others], atol=1e-6)
    assert (before['query'][:, 2] - after['query'][:, 2]).abs().max() > 1e-2


@torch.no_grad()
def test_full_attention_is_timms_blocks_on_all_tokens_and_moves_the_raw_outputs():
    model = vit(query_attention='full')
    images, queries = batch(4)
    tokens = model._pos_embed(model.patch_embed(images))
    embedded = model.patch_embed(queries.flatten(0, 1)).view(2, 4, -1)
    expected = model.norm(model.blocks(torch.cat([tokens, embedded], dim=1)))
    found = model(images, queries)
    assert torch.equal(torch.cat([found['cls'][:, None], found['patch'], found['query']], dim=1), expected)
    assert (found['cls'] - model(images)['cls']).abs().max() > 1e-3


def test_gradients_flow_from_queries_to_the_keys_and_values_of_raw_tokens():
    model = vit()
    images, queries = batch(3)
    images.requires_grad_()
    model(images, queries)['query'].square().sum().backward()
    assert (images.grad.abs().amax(dim=(1, 2, 3)) > 0).all()
    rows = model.blocks[0].attn.qkv.weight.grad.abs().amax(dim=1).view(3, 24)
    assert (rows > 0).all()  # query, key, value
    assert model.cls_token.grad.abs().max() > 0  # reached through its keys and values only


def test_there_are_no_parameters_beside_timms():
    plain, ours, masked = timm_vit(), vit(), vit(mask_token=True)
    assert list(ours.state_dict()) == list(plain.state_dict())
    count = sum(parameter.numel() for parameter in plain.parameters())
    assert sum(parameter.numel() for parameter in ours.parameters()) == count
    assert set(masked.state_dict()) - set(plain.state_dict()) == {'mask_token'}
    assert 'mask_token' in masked.no_weight_decay()
    small = QueryViT('vit_small_patch16_224')
    assert sum(parameter.numel() for parameter in small.parameters()) == 21_665_664  # DINO's ViT-S/16


def test_the_cost_grows_linearly_with_the_queries():
    model = vit()

    def flops(number: int) -> int:
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            model(*batch(number))
        return counter.get_total_flops()

    counts = {number: flops(number) for number in (0, 10, 20, 40)}
    ten = counts[10] - counts[0]
    assert ten > 0 and counts[20] - counts[0] == 2 * ten and counts[40] - counts[0] == 4 * ten
    tokens, depth, dim = 17, 3, 24
    per_query = 2 * (depth * (12 * dim**2 + 2 * tokens * dim) + 3 * 8 * 8 * dim + depth * dim)
    assert abs(ten / (2 * 10) - per_query) <= 2 * depth * dim  # multiplications with its own key are not counted


@torch.no_grad()
def test_masked_patches_cannot_be_told_apart():
    model = vit(mask_token=True)
    images, _ = batch(0)
    masks = torch.zeros(2, 4, 4, dtype=torch.bool)
    masks[:, 1:3, :2] = True
    changed = images.clone()
    changed[:, :, 8:24, :16] += 5
    first = model(images, masks=masks)
    assert torch.equal(first['patch'], model(changed, masks=masks.flatten(1))['patch'])
    assert (first['patch'] - model(images)['patch']).abs().max() > 1e-2
    assert torch.equal(model(images, masks=torch.zeros_like(masks))['patch'], model(images)['patch'])
    patches = model.patch_embed(images)
    patches[masks] = model.mask_token[0, 0]
    assert torch.allclose(first['patch'], model.norm(model.blocks(model._pos_embed(patches)))[:, 1:], atol=1e-6)


def test_autocast_gives_the_same_to_bf16s_precision():
    model = vit()
    images, queries = batch(4)
    with torch.no_grad():
        exact = model(images, queries)
    with torch.autocast('cpu', torch.bfloat16):
        rough = model(images, queries)
        rough['query'].float().square().sum().backward()
    for name, values in exact.items():
        assert torch.nn.functional.cosine_similarity(values, rough[name].float(), dim=-1).min() > 0.99, name
    assert all(torch.isfinite(p.grad).all() for p in model.parameters() if p.grad is not None)


def test_a_deep_copy_computes_the_same_with_weights_of_its_own():
    model = vit(mask_token=True)
    twin = copy.deepcopy(model)
    images, queries = batch(3)
    assert torch.equal(model(images, queries)['query'], twin(images, queries)['query'])
    varied(twin)
    assert not torch.equal(model(images, queries)['query'], twin(images, queries)['query'])


def test_drop_path_drops_an_image_with_its_queries():
    model = vit(drop_path_rate=0.9, depth=2)
    images, queries = batch(3, number=40)
    without = copy.deepcopy(model)
    without.out_indices, without.blocks = (0,), without.blocks[:1]  # drop path rises from 0 in the first to 0.9
    expected = without(images, queries)
    model.train()
    torch.manual_seed(0)
    found = model(images, queries)
    dropped = {name: (found[name] - expected[name]).flatten(1).abs().amax(1) < 1e-5 for name in found}
    assert 20 < dropped['cls'].sum() < 40 and torch.equal(dropped['cls'], dropped['query'])
    torch.manual_seed(0)
    assert torch.allclose(found['cls'], model(images)['cls'], atol=1e-5)  # queries draw no random numbers


def test_gradient_checkpointing_gives_the_same_gradients():
    model, images_queries = vit().train(), batch(3)
    gradients = []
    for enable in (False, True):
        model.set_grad_checkpointing(enable)
        model.zero_grad()
        model(*images_queries)['query'].square().sum().backward()
        gradients.append([p.grad.clone() for p in model.parameters()])
    assert all(torch.allclose(a, b, atol=1e-6) for a, b in zip(*gradients, strict=True))


@torch.no_grad()
@pytest.mark.parametrize(
    'changes',
    [dict(reg_tokens=4), dict(reg_tokens=2, no_embed_class=True), dict(init_values=0.5, qk_norm=True, pre_norm=True)],
    ids=['registers', 'registers without position', 'layer scale, qk norm, norm before'],
)
def test_relatives_of_the_plain_vit_work(changes):
    model, plain = vit(**changes), timm_vit(dynamic_img_size=True, **changes)
    plain.load_state_dict(model.state_dict())
    images, queries = batch(4)
    found, expected = model(images, queries), plain.forward_features(images)
    assert torch.allclose(found['cls'], expected[:, 0], atol=1e-5)
    assert torch.allclose(found['patch'], expected[:, 1 + changes.get('reg_tokens', 0) :], atol=1e-5)
    one = model(images, queries[:, 2:3])['query']
    assert torch.allclose(found['query'][:, 2:3], one, atol=1e-5)


@torch.no_grad()
def test_a_position_of_the_queries_is_the_mean_of_the_patches():
    images, queries = batch(2)
    none, mean = vit(), vit(query_pos='mean')
    moved = mean.pos_embed[0, 1:].mean(0)
    expected = none._embedded_queries(queries, 2) + moved
    assert torch.allclose(mean._embedded_queries(queries, 2), expected, atol=1e-6)
    assert torch.equal(mean(images, queries)['cls'], none(images, queries)['cls'])


@torch.no_grad()
def test_maps_of_chosen_blocks_are_timms_intermediates():
    model = vit(out='maps', out_indices=(0, 1, -1))
    images = batch(0, size=48)[0][:, :, :32]
    first, second, last = model(images)
    _, expected = super(QueryViT, model).forward_intermediates(images)
    assert first.shape == (2, 24, 4, 6)
    assert torch.allclose(first, expected[0], atol=1e-5) and torch.allclose(second, expected[1], atol=1e-5)
    normed = model.norm(expected[2].permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
    assert torch.allclose(last, normed, atol=1e-5)


@torch.no_grad()
def test_class_tokens_of_the_last_blocks_side_by_side():
    model = vit(out='cls', out_indices=(-2, -1))
    images = batch(0)[0]
    pairs = super(QueryViT, model).get_intermediate_layers(images, 2, return_prefix_tokens=True, norm=True)
    (vector,) = model(images)
    assert torch.allclose(vector, torch.cat([prefix[:, 0] for _, prefix in pairs], dim=1), atol=1e-5)
    model.out, model.out_indices = 'cls_mean', (2,)
    (vector,) = model(images)
    assert torch.allclose(vector, torch.cat([pairs[1][1][:, 0], pairs[1][0].mean(1)], dim=1), atol=1e-5)


@pytest.mark.parametrize(
    'settings, sentence',
    [
        (dict(model_name='resnet18'), "model_name='resnet18' does not make"),
        (dict(model_name='vit_giant'), 'vit_giant'),
        (dict(model_name='flexivit_none'), 'Unknown model'),
        (dict(model_name='deit_tiny_distilled_patch16_224'), 'does not make a plain ViT: The distilled'),
        (dict(model_name='eva02_tiny_patch14_224'), 'is a Eva'),
        (dict(class_token=False), 'needs a class token'),
        (dict(model_name='vit_small_patch16_18x2_224', depth=1), "query_attention='full'"),
        (dict(query_attention='own'), "query_attention must be 'cross' or 'full', got"),
        (dict(query_pos='learned'), "query_pos must be 'mean' or None"),
        (dict(out='tokens'), "out must be 'mapping' or 'maps' or"),
        (dict(out='maps', out_indices=(3,)), 'some of 3 blocks'),
        (dict(out_indices=(0, 1)), "for out='maps' or 'cls'"),
        (dict(num_classes=10), 'sets num_classes itself'),
        (dict(not_a_setting=1), 'not_a_setting'),
    ],
)
def test_what_it_cannot_be_is_a_sentence(settings, sentence):
    settings = {'model_name': NAME, **SMALL, **settings}
    if settings['model_name'] == 'resnet18':
        settings = dict(model_name='resnet18')
    with pytest.raises(ValueError, match=sentence):
        QueryViT(**settings)


@pytest.mark.parametrize(
    'call, sentence',
    [
        (
            lambda: vit()(torch.zeros(1, 3, 36, 32)),
            r'\(36, 32\) px are no whole number of patches of \(8, 8\).*patch_size of viewplug.PatchGrid',
        ),
        (lambda: vit()(*batch(2)[:1], torch.zeros(2, 3, 3, 16, 16)), r'queries of 2 images are \(2, Q, 3, 8, 8\)'),
        (lambda: vit()(batch(0)[0], masks=torch.zeros(2, 16) > 0), 'mask_token=True'),
        (lambda: vit(mask_token=True)(batch(0)[0], masks=torch.zeros(2, 9) > 0), r'2 images of 4 x 4 patches'),
        (lambda: vit(mask_token=True)(batch(0)[0], masks=torch.zeros(2, 16)), r'got torch.float32 \(2, 16\)'),
        (lambda: vit(out='cls')(*batch(2)), "out of out='mapping' only"),
    ],
)
def test_what_does_not_fit_is_a_sentence(call, sentence):
    with pytest.raises(ValueError, match=sentence):
        call()
