"""CPC: contexts that do not see what they predict, patches as whole images see them, and an encoder that loads."""

from functools import partial

import pytest
import torch
from mmengine.runner.checkpoint import save_checkpoint
from torch.nn import functional as F
from toys import ToyBackbone

from viewplug.frameworks import CPC
from viewplug.frameworks.parts import vectors_of_parts
from viewplug.necks.masked_conv import DIRECTIONS, MaskedConvContext, toward
from viewplug.registry import MODELS

LAYER_NORM = dict(type='viewplug.ChannelLayerNorm')


def small_resnet(**changes) -> dict:
    settings = dict(depth=50, stem_channels=8, base_channels=4, num_stages=3, strides=(1, 2, 2), dilations=(1, 1, 1))
    return dict(type='mmpretrain.ResNet', **{**settings, 'out_indices': (2,), 'norm_cfg': LAYER_NORM, **changes})


def shallow(**changes) -> dict:
    """One stage of two blocks behind a 3 x 3 stem: an output sees 11 x 11 pixels."""
    settings = dict(depth=18, stem_channels=8, base_channels=8, num_stages=1, strides=(1,), dilations=(1,))
    return dict(type='mmpretrain.ResNet_CIFAR', **settings, out_indices=(0,), **changes)


def a_model(directions=DIRECTIONS, backbone=None, **head) -> CPC:
    model = CPC(
        backbone=backbone or small_resnet(),
        context=dict(type='MaskedConvContext', hidden_channels=6, num_layers=3),
        head=dict(type='CPCHead', **{'offsets': (1, 2), **head}),
        directions=directions,
    )
    for parameter in model.backbone.parameters():
        if parameter.dim() > 1:
            torch.nn.init.kaiming_normal_(parameter)
    return model


def opposite_of(rows: int, row: int, direction: str):
    """The part of a grid that lies beyond line ``row``, counted in ``direction``, as an index of the image's frame."""
    line = slice(row + 1, None) if direction in ('down', 'right') else slice(0, rows - row - 1)
    return (..., line, slice(None)) if direction in ('down', 'up') else (..., slice(None), line)


@pytest.mark.parametrize('direction', DIRECTIONS)
@pytest.mark.parametrize('row', [0, 1, 3])
def test_the_context_of_a_row_does_not_change_when_rows_beyond_it_change(direction, row):
    context = MaskedConvContext(5, hidden_channels=7, num_layers=4)
    before = torch.randn(2, 5, 6, 6)
    after = before.clone()
    beyond = opposite_of(6, row, direction)
    after[beyond] = torch.randn_like(after[beyond]) * 100
    a, b = (context(toward(latents, direction)) for latents in (before, after))
    assert torch.equal(a[:, :, : row + 1], b[:, :, : row + 1])
    assert all((a[:, :, r] != b[:, :, r]).any() for r in range(row + 1, 6))


@pytest.mark.parametrize('direction', DIRECTIONS)
def test_pixels_that_are_predicted_do_not_reach_the_context_they_are_predicted_from(direction):
    """Through the whole model, which is where batch norm would let them (version 2, sec. 4.1)."""
    patches = torch.randn(2, 4, 4, 3, 16, 16)
    changed = patches.clone()
    index = opposite_of(4, 1, direction)[1:]
    changed[(slice(None), *index)] = torch.randn_like(changed[(slice(None), *index)])
    for norm, leaks in ((LAYER_NORM, False), (dict(type='BN'), True)):
        model = a_model((direction,), small_resnet(norm_cfg=norm))
        contexts = [model.contexts[direction](toward(model.encode(p), direction))[:, :, :2] for p in (patches, changed)]
        assert torch.allclose(*contexts, rtol=1e-4, atol=1e-6) != leaks


def test_the_context_sees_as_many_rows_up_as_it_has_blocks_and_all_columns_near():
    context = MaskedConvContext(3, hidden_channels=4, num_layers=2)
    latents = torch.randn(1, 3, 7, 7, requires_grad=True)
    context(latents)[0, :, 5, 3].abs().sum().backward()
    seen = latents.grad[0].abs().sum(dim=0) > 0
    expected = torch.zeros(7, 7, dtype=torch.bool)
    expected[3:6, 1:6] = True
    assert not (seen & ~expected).any() and seen[3].any() and seen[5, 1] and seen[5, 5]


def test_every_parameter_gets_a_gradient_and_the_loss_falls():
    model = a_model(
        backbone=shallow(norm_cfg=LAYER_NORM), normalize=True, loss=dict(type='InfoNCELoss', temperature=0.2)
    )
    patches = torch.randn(4, 4, 4, 3, 16, 16)
    optimiser = torch.optim.Adam(model.parameters(), lr=3e-3)
    losses = []
    for _ in range(15):
        loss = model(patches=patches, mode='loss')['loss']
        optimiser.zero_grad()
        loss.backward()
        assert all(p.grad is not None for p in model.parameters())
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0] - 0.1
    assert model.latest['patches']['online'][0].shape == (4, 8, 4, 4)


def test_encode_keeps_patches_in_their_places():
    model = a_model()
    patches = torch.randn(2, 3, 4, 3, 16, 16)
    latents = model.encode(patches)
    for n, row, col in ((0, 0, 3), (1, 2, 1)):
        alone = model.backbone(patches[n, row, col][None])[-1].mean(dim=(2, 3))[0]
        assert torch.allclose(latents[n, :, row, col], alone, rtol=1e-4, atol=1e-6)


def inside(size: int, margin: int):
    return (..., slice(margin, size - margin), slice(margin, size - margin))


@pytest.mark.parametrize('norm_cfg', [LAYER_NORM, dict(type='BN')], ids=['layer norm', 'batch norm'])
def test_the_encoder_is_fully_convolutional(norm_cfg):
    """A patch's features are the image's features there, exactly where no padding is seen: every position whose 11 x 11
    pixels lie within the patch. In evaluation mode that holds for batch norm too."""
    model = a_model(backbone=shallow(norm_cfg=norm_cfg)).eval()
    image = torch.randn(1, 3, 48, 48)
    patch = image[..., 8:32, 16:40]
    whole, alone = model.backbone(image)[-1][..., 8:32, 16:40], model.backbone(patch)[-1]
    assert torch.allclose(whole[inside(24, 5)], alone[inside(24, 5)], rtol=1e-4, atol=1e-5)
    border = (whole - alone).abs().amax(dim=(0, 1))
    assert border[0].max() > 1e-3 and border[:, 0].max() > 1e-3  # where the patch sees zeros, the image its neighbours


def test_with_layer_norm_features_are_the_same_in_training_mode_whatever_else_is_in_the_batch():
    model = a_model(backbone=shallow(norm_cfg=LAYER_NORM)).train()
    patches = torch.randn(2, 2, 2, 3, 16, 16)
    alone = model.encode(patches[:1, :1, :1])
    assert torch.allclose(model.encode(patches)[:1, :, :1, :1], alone, rtol=1e-4, atol=1e-6)


def test_layer_norm_has_batch_norms_names_and_normalises_each_position():
    names = [set(MODELS.build(small_resnet(norm_cfg=cfg)).state_dict()) for cfg in (LAYER_NORM, dict(type='BN'))]
    assert names[0] == {name for name in names[1] if not name.endswith(('_mean', '_var', '_tracked'))}
    norm = MODELS.build(dict(type='viewplug.ChannelLayerNorm', num_channels=6))
    x = torch.randn(2, 6, 3, 5)
    expected = torch.stack([F.layer_norm(x[:, :, i, j], (6,)) for i in range(3) for j in range(5)], dim=-1)
    assert torch.allclose(norm(x).flatten(2), expected, atol=1e-6)


def test_the_encoder_loads_into_a_classifier_s_and_a_detector_s_resnet(tmp_path):
    model = a_model()
    save_checkpoint(dict(state_dict=model.state_dict()), str(tmp_path / 'cpc.pth'))
    settings = small_resnet(init_cfg=dict(type='Pretrained', checkpoint=str(tmp_path / 'cpc.pth'), prefix='backbone.'))
    image = torch.randn(1, 3, 64, 96)
    loaded = MODELS.build(settings)
    loaded.init_weights()
    assert torch.equal(loaded(image)[-1], model.backbone(image)[-1]) and loaded(image)[-1].shape[-2:] == (4, 6)
    mmdet = pytest.importorskip('mmdet.models')
    settings.pop('type')
    detector = mmdet.ResNet(**{**settings, 'base_channels': 4})
    detector.init_weights()
    assert torch.allclose(detector(image)[-1], model.backbone(image)[-1], rtol=1e-4, atol=1e-5)


def test_the_wide_resnet_has_the_papers_width_and_size(monkeypatch):
    # Without memory for 300 M numbers; mmpretrain asks for the value of these few.
    monkeypatch.setattr(torch, 'linspace', partial(torch.linspace, device='cpu'))
    with torch.device('meta'):
        wide = MODELS.build(dict(type='viewplug.ResNet161', norm_cfg=LAYER_NORM))
    assert [len(getattr(wide, f'layer{i}')) for i in (1, 2, 3)] == [3, 4, 46] and not hasattr(wide, 'layer4')
    assert [wide.layer3[5].conv1.out_channels, wide.layer3[5].conv3.out_channels] == [512, 4096]
    assert sum(p.numel() for p in wide.parameters()) / 305e6 == pytest.approx(1, rel=0.01)  # Table 1: 305 M


@pytest.mark.parametrize(
    ('call', 'sentence'),
    [
        (lambda: a_model(directions=('sideways',)), r"model: directions must be some of .* got \('sideways',\)"),
        (lambda: a_model()(mode='loss'), 'needs patches .* got None; the train pipeline ends with'),
        (lambda: a_model()(patches=torch.zeros(2, 3, 16, 16), mode='loss'), r'got \(2, 3, 16, 16\)'),
        (lambda: a_model()(mode='predict'), "mode must be 'loss' or 'tensor', got 'predict'"),
    ],
)
def test_what_makes_no_sense_is_named(call, sentence):
    with pytest.raises(ValueError, match=sentence):
        call()


def test_patches_too_small_for_the_backbone_are_answered_with_the_patch_size():
    model = a_model(backbone=ToyBackbone(), directions=('down',)).train()
    with pytest.raises(
        ValueError, match='ToyBackbone cannot take patches of 4 x 4 px .*Kernel size.*; set another patch_'
    ):
        model.loss(torch.randn(2, 3, 3, 3, 4, 4))
    assert model.backbone.training

    def broken(backbone, inputs):
        if len(inputs[0]) > 1:
            raise RuntimeError('out of memory')

    model.backbone.register_forward_pre_hook(broken)
    with pytest.raises(RuntimeError, match='^out of memory$'):  # which no other size would mend
        model.loss(torch.randn(2, 3, 3, 3, 8, 8))


def test_an_error_of_another_kind_is_not_blamed_on_the_size_of_patches():
    model = a_model(backbone=ToyBackbone(), directions=('down',)).train()
    with pytest.raises(RuntimeError, match='(?i)half'):
        vectors_of_parts(model.backbone, torch.randn(2, 3, 64, 64).half())
