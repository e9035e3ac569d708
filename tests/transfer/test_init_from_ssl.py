"""InitFromSSL: a backbone out of anybody's file, into anybody's network."""

import copy
import math
import pickle

import pytest
import timm
import torch
import torchvision
from checkpoints import built, faster_rcnn, pretrained, same, small_resnet
from mmengine.config import ConfigDict
from mmpretrain.models.backbones.resnet import BasicBlock, ResNet
from mmpretrain.models.utils import resize_pos_embed
from safetensors.torch import save_file
from timm.layers import resample_abs_pos_embed
from torch import nn
from torch.nn import functional as F
from toys import mlp_branch

from viewplug.transfer import InitFromSSL
from viewplug.transfer.layouts import find_layouts, resize_positions

SMALL_VIT = dict(img_size=32, patch_size=8, embed_dim=24, depth=2, num_heads=2)


def vit(seed: int = 0, **changes) -> nn.Module:
    """timm's ViT of 4 x 4 patches, every value drawn anew."""
    torch.manual_seed(seed)
    model = timm.create_model('vit_tiny_patch16_224', **{**SMALL_VIT, 'num_classes': 0, **changes})
    with torch.no_grad():
        for value in model.parameters():
            value.normal_(std=0.1)
    return model.eval()


def openmmlab_vit(size: int = 32, scope: str = 'mmpretrain', **changes) -> dict:
    arch = dict(embed_dims=24, num_layers=2, num_heads=2, feedforward_channels=96)
    if scope == 'mmpretrain':
        return dict(type='mmpretrain.VisionTransformer', arch=arch, img_size=size, patch_size=8, **changes)
    arch = dict(embed_dims=24, num_layers=2, num_heads=2, mlp_ratio=4)
    norm = dict(type='LN', eps=1e-6)
    return dict(
        type='mmseg.VisionTransformer',
        **arch,
        img_size=size,
        patch_size=8,
        norm_cfg=norm,
        final_norm=True,
        patch_bias=True,
        **changes,
    )


class Holder(nn.Module):
    """A model with a backbone."""

    def __init__(self, backbone) -> None:
        super().__init__()
        self.backbone = backbone


def write(checkpoint, backbone, **options):
    """The backbone after InitFromSSL, and what the hook found."""
    backbone = built(ConfigDict(backbone), 'mmpretrain') if isinstance(backbone, dict) else backbone
    backbone.eval()
    model = Holder(backbone)
    (found,) = InitFromSSL(str(checkpoint), **options).write(model)
    return model.backbone, found


def test_features_of_a_timm_vit_are_those_of_mmpretrains_after_the_load(tmp_path):
    source, images = vit(), torch.randn(2, 3, 32, 32)
    torch.save(source.state_dict(), tmp_path / 'timm.pth')
    target, found = write(tmp_path / 'timm.pth', openmmlab_vit(out_type='raw'))
    assert found.layout == 'timm' and not found.missing and not found.mismatched and not found.unexpected
    assert torch.allclose(target(images)[0], source.forward_features(images), atol=1e-5)


def test_features_of_a_timm_vit_are_those_of_mmsegmentations_after_the_load(tmp_path):
    source, images = vit(), torch.randn(2, 3, 32, 32)
    torch.save(dict(model=source.state_dict()), tmp_path / 'timm.pth')
    target, found = write(tmp_path / 'timm.pth', openmmlab_vit(scope='mmseg', out_indices=(1,)))
    assert not found.missing and not found.mismatched
    tokens = target(images)[-1].flatten(2).transpose(1, 2)
    assert torch.allclose(tokens, source.forward_features(images)[:, 1:], atol=1e-5)


def test_layer_scale_arrives_too(tmp_path):
    source, images = vit(init_values=0.1), torch.randn(2, 3, 32, 32)
    torch.save(source.state_dict(), tmp_path / 'timm.pth')
    target, found = write(tmp_path / 'timm.pth', openmmlab_vit(out_type='raw', layer_scale_init_value=0.1))
    assert not found.missing
    assert torch.allclose(target(images)[0], source.forward_features(images), atol=1e-5)


@pytest.mark.parametrize('layout', ['mmpretrain', 'mmseg'])
def test_openmmlab_vits_go_into_timms(layout, tmp_path):
    source = built(ConfigDict(openmmlab_vit(scope=layout)), layout)
    torch.save(dict(state_dict={f'backbone.{k}': v for k, v in source.state_dict().items()}), tmp_path / 'x.pth')
    target, found = write(tmp_path / 'x.pth', vit(1))
    assert found.layout == layout and not found.missing and found.prefix == 'backbone.'
    images = torch.randn(2, 3, 32, 32)
    source.eval()
    if layout == 'mmpretrain':
        assert torch.allclose(source(images)[0], target(images), atol=1e-5)
    assert torch.equal(target.blocks[1].mlp.fc2.weight, source.layers[1].ffn.layers[1].weight)


@pytest.mark.parametrize('side', [2, 6, 7])
def test_a_position_embedding_is_resized_as_mmpretrain_does(side, tmp_path):
    source = vit()
    torch.save(source.state_dict(), tmp_path / 'timm.pth')
    target, found = write(tmp_path / 'timm.pth', openmmlab_vit(side * 8))
    expected = resize_pos_embed(source.pos_embed, (4, 4), (side, side), 'bicubic', 1)
    assert torch.allclose(target.pos_embed, expected, atol=1e-6)
    assert found.notes == ['timm names -> mmpretrain names', f'pos_embed resized from 17 to {side * side + 1} tokens']


def test_a_grid_need_not_be_square_and_a_class_token_can_be_left_behind():
    positions = torch.randn(1, 17, 8)
    grid = positions[:, 1:].reshape(1, 4, 4, 8).permute(0, 3, 1, 2)
    wide = F.interpolate(grid, size=(2, 8), mode='bicubic', align_corners=False).flatten(2).transpose(1, 2)
    assert torch.allclose(resize_positions(positions, 17, (2, 8)), torch.cat([positions[:, :1], wide], 1))
    assert torch.allclose(resize_positions(positions, 16, (2, 8)), wide)
    assert torch.equal(resize_positions(positions, 16, (4, 4)), positions[:, 1:])
    with pytest.raises(ValueError, match='16 tokens does not fit 17'):
        resize_positions(positions[:, 1:], 17, (4, 4))
    with pytest.raises(ValueError, match='no square grid'):
        resize_positions(torch.zeros(1, 35, 8), 17, (4, 4))


def test_the_grid_of_a_wide_network_is_read_off_it(tmp_path):
    source = vit()
    torch.save(source.state_dict(), tmp_path / 'timm.pth')
    for backbone, antialias in (
        (vit(1, img_size=(16, 48)), True),
        (openmmlab_vit((16, 48)), False),
        (openmmlab_vit((16, 48), 'mmseg', out_indices=(1,)), False),
    ):
        target, _ = write(tmp_path / 'timm.pth', backbone)
        assert torch.allclose(target.pos_embed, resize_positions(source.pos_embed, 13, (2, 6), antialias))
    timms = resample_abs_pos_embed(source.pos_embed, [2, 6])
    assert torch.allclose(resize_positions(source.pos_embed, 13, (2, 6), antialias=True), timms, atol=1e-6)


def resnet_of_torchvision() -> nn.Module:
    """One block a stage."""
    torch.manual_seed(0)
    return torchvision.models.ResNet(torchvision.models.resnet.BasicBlock, [1, 1, 1, 1])


class OneBlock(ResNet):
    """mmpretrain's ResNet of that depth."""

    arch_settings = {10: (BasicBlock, (1, 1, 1, 1))}


def original_moco(state: dict) -> dict:
    """main_moco.py's checkpoint."""
    query = {f'module.encoder_q.{key}': value for key, value in state.items()}
    key_encoder = {f'module.encoder_k.{key}': value + 1 for key, value in state.items()}
    queue = {'module.queue': torch.randn(4, 8), 'module.queue_ptr': torch.zeros(1)}
    return dict(epoch=200, arch='resnet18', state_dict={**query, **key_encoder, **queue}, optimizer=dict(state={}))


def mmpretrains_moco(state: dict) -> dict:
    online = {f'backbone.{key}': value for key, value in state.items()}
    average = {f'encoder_k.module.0.{key}': value + 1 for key, value in state.items()}
    return dict(
        meta={}, state_dict={**online, **average, 'encoder_k.steps': torch.zeros(()), 'queue': torch.ones(2, 2)}
    )


def detectron2s(state: dict) -> dict:
    """MoCo's convert-pretrain-to-detectron2.py, written out."""
    found = {}
    for key, value in state.items():
        new = key if 'layer' in key else f'stem.{key}'
        for stage in (1, 2, 3, 4):
            new = new.replace(f'layer{stage}', f'res{stage + 1}')
        for number in (1, 2, 3):
            new = new.replace(f'bn{number}', f'conv{number}.norm')
        new = new.replace('downsample.0', 'shortcut').replace('downsample.1', 'shortcut.norm')
        if not new.endswith('num_batches_tracked') and 'fc' not in new:
            found[new] = value.numpy()
    return dict(model=found, __author__='MOCO', matching_heuristics=True)


@pytest.mark.parametrize(
    ('name', 'wrap', 'prefix', 'momentum_prefix'),
    [
        ('moco.pth.tar', original_moco, 'module.encoder_q.', 'module.encoder_k.'),
        ('mmpretrain.pth', mmpretrains_moco, 'backbone.', 'encoder_k.module.0.'),
        ('torchvision.pth', dict, '', None),
        ('resnet.safetensors', None, '', None),
        ('r50.pkl', detectron2s, '', None),
    ],
)
def test_a_resnet_is_found_in_files_of_other_projects(name, wrap, prefix, momentum_prefix, tmp_path):
    source = resnet_of_torchvision()
    state = dict(source.state_dict())
    path = tmp_path / name
    if name.endswith('.pkl'):
        path.write_bytes(pickle.dumps(wrap(state)))
    elif name.endswith('.safetensors'):
        save_file(state, path)
    else:
        torch.save(wrap(state), path)
    target, found = write(path, OneBlock(10))
    assert found.prefix == prefix and not found.mismatched
    assert all('num_batches_tracked' in key for key in found.missing) and len(found.missing) in (0, 12)
    for key, value in target.state_dict().items():
        assert 'num_batches_tracked' in key or torch.equal(value, state[key]), key
    images = torch.randn(1, 3, 64, 64)
    source.eval().fc = nn.Identity()
    assert torch.allclose(source(images), target(images)[-1].mean((2, 3)), atol=1e-5)
    if momentum_prefix:
        target, found = write(path, OneBlock(10), momentum=True)
        assert found.prefix == momentum_prefix and torch.equal(target.conv1.weight, state['conv1.weight'] + 1)
    else:
        with pytest.raises(ValueError, match='momentum=True, but the file has no momentum copy'):
            write(path, OneBlock(10), momentum=True)


def test_dinos_student_and_teacher_are_told_apart(tmp_path):
    student, teacher = vit().state_dict(), vit(1).state_dict()
    head = {'module.head.mlp.0.weight': torch.zeros(3, 3)}
    content = dict(
        student={f'module.backbone.{key}': value for key, value in student.items()} | head,
        teacher={f'backbone.{key}': value for key, value in teacher.items()},
        epoch=100,
        optimizer=dict(state={}),
    )
    torch.save(content, tmp_path / 'dino.pth')
    target, found = write(tmp_path / 'dino.pth', vit(2))
    assert found.prefix == 'student.module.backbone.'
    assert torch.equal(target.pos_embed, student['pos_embed'])
    target, found = write(tmp_path / 'dino.pth', vit(2), momentum=True)
    assert found.prefix == 'teacher.backbone.' and torch.equal(target.pos_embed, teacher['pos_embed'])
    torch.save(dict(teacher=content['teacher']), tmp_path / 'teacher.pth')
    target, found = write(tmp_path / 'teacher.pth', vit(2))
    assert torch.equal(target.pos_embed, teacher['pos_embed'])


def test_a_network_of_no_known_layout_is_found_by_its_names(tmp_path):
    swin = timm.create_model('swin_tiny_patch4_window7_224', embed_dim=8, depths=(1, 1, 1, 1), num_heads=(1, 1, 1, 1))
    state = {f'target.backbone.{k}': v + 1 for k, v in swin.state_dict().items() if v.is_floating_point()}
    state |= {f'backbone.{key}': value for key, value in swin.state_dict().items()}
    torch.save(dict(state_dict=state), tmp_path / 'swin.pth')
    blank = copy.deepcopy(swin)
    for value in blank.parameters():
        value.data.zero_()
    target, found = write(tmp_path / 'swin.pth', blank)
    assert found.prefix == 'backbone.' and same(target, state, 'backbone.') == len(swin.state_dict())


def test_several_modules_each_from_its_own_place(tmp_path):
    neck = dict(type='RegionNeck', stages=('P3', 'P4'), fpn_channels=16, hidden_channels=8, out_channels=8)
    head = dict(type='RegionHead', window=(32, 48), stride=(24, 32), downsample=(8, 16), loss=dict(type='InfoNCELoss'))
    state = pretrained(tmp_path / 'r.pth', branches=dict(image=mlp_branch(), region=dict(neck=neck, head=head)))
    for modules in (['backbone', 'neck'], dict(backbone='backbone.', neck='branches.region.neck.fpn.')):
        detector = built(faster_rcnn())
        found = InitFromSSL(str(tmp_path / 'r.pth'), modules).write(detector)
        assert [match.prefix for match in found] == ['backbone.', 'branches.region.neck.fpn.']
        assert same(detector.backbone, state, 'backbone.')
        assert torch.equal(
            detector.neck.fpn_convs[2].conv.weight, state['branches.region.neck.fpn.fpn_convs.2.conv.weight']
        )
    detector = built(faster_rcnn())
    found = InitFromSSL(str(tmp_path / 'r.pth'), ['backbone', 'neck'], momentum=True).write(detector)
    assert [match.prefix for match in found] == ['target.backbone.', 'target.necks.region.fpn.']


def test_mistakes_are_sentences_with_what_there_is_and_what_to_set(tmp_path):
    pretrained(tmp_path / 'v.pth')
    detector, path = built(faster_rcnn()), str(tmp_path / 'v.pth')
    with pytest.raises(
        ValueError,
        match=r"v\.pth: backbone: the file has nothing that fits under source='encoder\.'\. The file has backbones "
        r"under 'backbone\.' \(120\), 'target\.backbone\.' \(120\).* set source='backbone\.'",
    ):
        InitFromSSL(path, source='encoder.').write(detector)
    with pytest.raises(
        ValueError, match='FasterRCNN has no module .backbones.; it has data_preprocessor, backbone, neck'
    ):
        InitFromSSL(path, 'backbones').write(detector)
    with pytest.raises(ValueError, match='neck: nothing in the file has the names of this FPN'):
        InitFromSSL(path, 'neck').write(detector)
    narrow = built(small_resnet(stem_channels=4, base_channels=4))  # step counters alone would fit
    with pytest.raises(ValueError, match=r"under 'backbone\.' has the shape .*conv1\.weight \(\(8, 3, 7, 7\) in the"):
        write(path, narrow)
    with pytest.raises(ValueError, match='checkpoint is empty'):
        InitFromSSL('').write(detector)
    torch.save(dict(meta={}), tmp_path / 'none.pth')
    with pytest.raises(ValueError, match='The file holds no weights'):
        InitFromSSL(str(tmp_path / 'none.pth')).write(detector)


def test_layouts_are_told_by_their_names():
    assert find_layouts(['a.layer1.0.conv1.weight', 'layer4.0.conv1.weight']) == {
        'a.': 'torchvision',
        '': 'torchvision',
    }
    assert find_layouts(['layers.0.blocks.0.attn.qkv.weight']) == {}
    assert math.isclose(len(find_layouts(vit().state_dict())), 1)


def test_half_precision_holds_the_rounded_values(tmp_path):
    state = pretrained(tmp_path / 'v.pth')
    detector = built(faster_rcnn()).half()
    InitFromSSL(str(tmp_path / 'v.pth')).write(detector)
    assert torch.equal(detector.backbone.conv1.weight, state['backbone.conv1.weight'].half())
    assert detector.backbone.conv1.weight.dtype == torch.float16
