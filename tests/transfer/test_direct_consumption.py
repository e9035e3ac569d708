"""mmengine's own ``init_cfg=dict(type='Pretrained', ..., prefix='backbone.')`` on a training checkpoint as it is.

Every test builds the consumer, initialises it as a Runner does, and compares every value with the file's.
"""

from pathlib import Path

import pytest
import torch
from checkpoints import built, faster_rcnn, plain, pretrained, same, small_resnet
from mmengine.config import Config, ConfigDict
from toy_runs import toy_runner
from toys import hcl_branch, mlp_branch, toy_resnet

from viewplug.transfer.check import check_model, origins_in

CONFIGS = Path(__file__).resolve().parents[2] / 'configs/transfer'


@pytest.fixture(scope='module')
def moco(tmp_path_factory):
    path = tmp_path_factory.mktemp('moco') / 'epoch_3.pth'
    return path, pretrained(path)


def test_a_detector_with_a_pyramid_has_the_backbone_of_a_run_that_was_trained(tmp_path):
    toy_runner(tmp_path, max_epochs=1, branch=hcl_branch(input_size=32, queue_len=12)).train()
    state = torch.load(tmp_path / 'epoch_1.pth', weights_only=False)['state_dict']
    detector = built(faster_rcnn(small_resnet(init_cfg=plain(tmp_path / 'epoch_1.pth'))))
    assert same(detector.backbone, state, 'backbone.') == 120


def test_the_momentum_encoder_is_a_choice_of_prefix(moco):
    path, state = moco
    detector = built(faster_rcnn(small_resnet(init_cfg=plain(path, 'target.backbone.'))))
    assert same(detector.backbone, state, 'target.backbone.') == 120
    assert not torch.equal(detector.backbone.conv1.weight, state['backbone.conv1.weight'])


def test_r50_c4_has_its_backbone_to_c4_and_its_shared_head_from_layer4(tmp_path):
    path = tmp_path / 'r50.pth'
    backbone = dict(type='mmpretrain.ResNet', depth=50, out_indices=(0, 1, 2, 3))
    state = pretrained(path, backbone, target='StopGradTarget')
    c4 = dict(type='mmdet.ResNet', depth=50, num_stages=3, out_indices=(2,), style='pytorch', norm_eval=False)
    cfg = faster_rcnn(dict(c4, strides=(1, 2, 2), dilations=(1, 1, 1), init_cfg=plain(path)), neck=None)
    cfg.roi_head.shared_head = dict(type='mmdet.ResLayer', depth=50, stage=3, init_cfg=plain(path), style='pytorch')
    cfg.roi_head.bbox_head = dict(
        type='mmdet.BBoxHead', with_avg_pool=True, roi_feat_size=7, in_channels=2048, num_classes=3
    )
    detector = built(cfg)
    stages = 5 * 1 + 1 + sum(6 * 3 * blocks + 6 for blocks in (3, 4, 6))
    assert same(detector.backbone, state, 'backbone.') == stages
    assert same(detector.roi_head.shared_head, state, 'backbone.') == 6 * 3 * 3 + 6


def test_resim_fpn_t_takes_the_pyramid_by_its_own_prefix(tmp_path):
    path = tmp_path / 'resim.pth'
    neck = dict(type='RegionNeck', stages=('P3', 'P4'), fpn_channels=16, hidden_channels=8, out_channels=8)
    head = dict(type='RegionHead', window=(32, 48), stride=(24, 32), downsample=(8, 16), loss=dict(type='InfoNCELoss'))
    state = pretrained(path, branches=dict(image=mlp_branch(), region=dict(neck=neck, head=head)))
    prefix = 'branches.region.neck.fpn.'
    cfg = faster_rcnn(small_resnet(init_cfg=plain(path)))
    cfg.neck.init_cfg = plain(path, prefix)
    detector = built(cfg)
    assert same(detector.backbone, state, 'backbone.') == 120
    mine, never_trained = detector.neck.state_dict(), set()
    for name, value in mine.items():
        if prefix + name in state:
            assert torch.equal(value, state[prefix + name]), name
        else:
            never_trained.add(name.rsplit('.conv', 1)[0])
    assert never_trained == {'lateral_convs.0', 'fpn_convs.0', 'fpn_convs.3'}
    assert len(mine) == 16


def test_resim_fpn_t_without_norm_goes_into_the_papers_detector_which_adds_it(tmp_path):
    """ReSim, sec. 4.3: the detector has new batch norm in its pyramid, and so no biases before it."""
    path = tmp_path / 'resim.pth'
    neck = dict(type='RegionNeck', stages=('P3', 'P4'), fpn_channels=256, hidden_channels=8, out_channels=8)
    head = dict(type='RegionHead', window=(32, 48), stride=(24, 32), downsample=(8, 16), loss=dict(type='InfoNCELoss'))
    backbone = dict(type='mmpretrain.ResNet', depth=50, out_indices=(0, 1, 2, 3))
    state = pretrained(path, backbone, dict(image=mlp_branch(), region=dict(neck=neck, head=head)))
    cfg = Config.fromfile(CONFIGS / 'coco_mask_rcnn_r50_fpn_1x.py').model
    assert cfg.neck.norm_cfg.type == 'SyncBN'
    cfg.backbone.init_cfg, cfg.neck.init_cfg = plain(path), plain(path, 'branches.region.neck.fpn.')
    detector = built(cfg)
    reports = {report.module: report for report in check_model(detector, origins_in(detector))}
    assert not any(report.errors for report in reports.values())
    (note,) = [note for note in reports['neck'].notes if 'biases' in note]
    assert note.startswith('5 biases of convolutions (such as lateral_convs.1.conv.bias) are left out')
    convs = {name: value for name, value in state.items() if 'neck.fpn' in name and name.endswith('conv.weight')}
    assert len(convs) == 5 and 'target' not in ''.join(convs)
    for name, value in convs.items():
        assert torch.equal(detector.neck.get_parameter(name.removeprefix('branches.region.neck.fpn.')), value)


def test_an_mmpretrain_classifier_has_it_too(moco):
    path, state = moco
    model = built(
        ConfigDict(
            type='ImageClassifier',
            backbone=toy_resnet(init_cfg=plain(path)),
            neck=dict(type='GlobalAveragePooling'),
            head=dict(type='LinearClsHead', num_classes=3, in_channels=64),
        ),
        'mmpretrain',
    )
    assert same(model.backbone, state, 'backbone.') == 120


def test_an_mmsegmentation_network_has_it_too(moco):
    path, state = moco
    model = built(
        ConfigDict(
            type='EncoderDecoder',
            backbone=small_resnet(type='ResNet', dilations=(1, 1, 2, 4), strides=(1, 2, 1, 1), init_cfg=plain(path)),
            decode_head=dict(type='FCNHead', in_channels=64, in_index=3, channels=8, num_classes=3),
            test_cfg=dict(mode='whole'),
        ),
        'mmseg',
    )
    assert same(model.backbone, state, 'backbone.') == 120


def test_a_bare_timm_backbone_has_it_through_mmpretrain(tmp_path):
    path = tmp_path / 'timm.pth'
    size = dict(img_size=32, dynamic_img_size=True, embed_dim=24, depth=2, num_heads=2)
    timm = dict(type='mmpretrain.TIMMBackbone', model_name='vit_tiny_patch16_224', **size)
    state = pretrained(path, dict(timm))
    model = built(ConfigDict(dict(timm, init_cfg=plain(path))), 'mmpretrain')
    assert same(model, state, 'backbone.') > 20
