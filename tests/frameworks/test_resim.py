"""The region branch in every framework, beside every image branch and under both kinds of crop."""

import copy

import pytest
import torch
from mmengine.dist import get_rank
from mmengine.model import MMDistributedDataParallel
from processes import in_processes
from toy_runs import Diary, log_of, toy_runner
from toys import ToyImages, hcl_branch, mlp_branch, total, toy_resnet, toy_siamese

from viewplug.hooks import LocalizationHook
from viewplug.views import ViewGeometry

SIZE = 32
WINDOWS = dict(window=12, stride=4, downsample=4, input_size=SIZE)
BN = dict(type='BN')


def geometry_of(number: int) -> ViewGeometry:
    size = torch.rand(number, 2, 2) * 0.4 + 0.6
    low = torch.rand(number, 2, 2) * (1 - size)
    return ViewGeometry(torch.cat([low, low + size], dim=2), torch.rand(number, 2) < 0.5)


def contrast(**neck) -> dict:
    return dict(
        neck=dict(type='RegionNeck', **{**dict(stages=('C2',), hidden_channels=8, out_channels=8), **neck}),
        head=dict(type='RegionHead', loss=dict(type='InfoNCELoss', temperature=0.2), **WINDOWS),
    )


def cosine(norm_cfg=BN) -> dict:
    neck = dict(hidden_channels=8, out_channels=8, norm_cfg=norm_cfg)
    predictor = dict(type='MLPNeck', hidden_channels=4, norm_cfg=BN if norm_cfg == BN else None, normalize=False)
    head = dict(type='RegionHead', loss=dict(type='CosineLoss'), predictor=predictor, **WINDOWS)
    return dict(neck=dict(type='RegionNeck', stages=('C2',), **neck), head=head)


def predicted_image() -> dict:
    predictor = dict(type='MLPNeck', hidden_channels=4, norm_cfg=BN, normalize=False)
    return dict(
        neck=dict(type='MLPNeck', out_channels=8, norm_cfg=BN, normalize=False),
        head=dict(type='PredictHead', predictor=predictor),
    )


BOTH = dict(online_views=(0, 1), target_views=(0, 1))
SIMCLR_IMAGE = dict(
    neck=dict(type='MLPNeck', out_channels=8), head=dict(type='InBatchHead', loss=dict(type='InfoNCELoss'))
)
PYRAMID = dict(contrast(stages=('P2', 'P3'), fpn_channels=8))
PYRAMID['head'] = dict(PYRAMID['head'], window=(12, 16), stride=(4, 8), downsample=(4, 8), gather=(False, True))
FRAMEWORKS = dict(
    moco_v1=dict(branches=dict(image=mlp_branch(temperature=0.07), region=contrast())),
    moco_v2_shuffled=dict(
        branches=dict(image=mlp_branch(), region=contrast()),
        target=dict(type='MomentumTarget', momentum=0.9, shuffle_bn=True),
    ),
    moco_v2_eman=dict(
        branches=dict(image=mlp_branch(), region=contrast()),
        target=dict(type='MomentumTarget', momentum=0.9, eman=True),
    ),
    moco_fpn=dict(branches=dict(image=mlp_branch(), region=PYRAMID)),
    moco_cosine=dict(branches=dict(image=mlp_branch(), region=cosine())),
    moco_hcl=dict(branches=dict(image=hcl_branch(input_size=SIZE), region=contrast())),
    moco_hcl_fpn=dict(branches=dict(image=hcl_branch(input_size=SIZE), region=PYRAMID)),
    simsiam=dict(branches=dict(image=predicted_image(), region=cosine()), target=dict(type='StopGradTarget'), **BOTH),
    simclr=dict(
        branches=dict(image=SIMCLR_IMAGE, region=contrast()),
        target=dict(type='SharedTarget'),
        joint_views=True,
        **BOTH,
    ),
    byol=dict(
        branches=dict(image=predicted_image(), region=cosine()),
        target=dict(type='MomentumTarget', momentum=0.9, joint_views=True),
        **BOTH,
    ),
    byol_contrast=dict(
        branches=dict(image=predicted_image(), region=contrast()),
        target=dict(type='MomentumTarget', momentum=0.9),
        **BOTH,
    ),
)


@pytest.mark.parametrize('name', FRAMEWORKS)
def test_two_steps_train_every_part_of_the_region_branch_and_the_backbone(name):
    model = toy_siamese(backbone=toy_resnet(), **copy.deepcopy(FRAMEWORKS[name]))
    optimiser = torch.optim.SGD(model.parameters(), lr=0.05)
    before = {key: value.clone() for key, value in model.named_parameters()}
    for _ in range(2):
        views = list(torch.randn(2, 6, 3, SIZE, SIZE))
        losses = model(views, None, mode='loss', geometry=geometry_of(6))
        assert losses['region.valid_windows'] > 1 and losses['region.loss'].isfinite()
        optimiser.zero_grad()
        losses['region.loss'].backward(retain_graph=True)
        parts = dict(model.branches['region'].named_parameters())
        untouched = [key for key, value in parts.items() if value.grad is None]
        assert not untouched, untouched
        # A bias in front of batch norm, or of both sides of a cosine, has no gradient but rounding's.
        still = [key for key, value in parts.items() if value.ndim > 1 and value.grad.abs().max() < 1e-8]
        assert not still, still
        total(losses).backward()
        optimiser.step()
    changed = {key for key, value in model.named_parameters() if not torch.equal(before[key], value)}
    assert any(key.startswith('backbone.layer1') for key in changed)
    assert any(key.startswith('branches.region.neck') for key in changed)
    rows = model.latest['region']['online'][0]
    assert rows.shape == (6, 64 + 16 * ('fpn' in name), 8) and not rows.requires_grad


def test_symmetric_frameworks_compare_both_directions_with_their_own_windows():
    model = toy_siamese(
        backbone=toy_resnet(), branches=dict(region=contrast()), target=dict(type='SharedTarget'), **BOTH
    )
    model.eval()
    views, geometry = list(torch.randn(2, 4, 3, SIZE, SIZE)), geometry_of(4)
    z = [model.encode(view)['region'] for view in views]
    head = model.branches['region'].head
    forth, back = (head.loss(z[o], z[1 - o], geometry, pair=(o, 1 - o))['loss'] for o in (0, 1))
    found = model(views, None, mode='loss', geometry=geometry)['region.loss']
    assert found.item() == pytest.approx((forth + back).item() / 2, rel=1e-5) and forth != back


def test_everything_together_trains_under_a_runner_from_boxes_to_regions(tmp_path):
    crop = dict(type='viewplug.ContrastiveCrop', scale=64, crop_ratio_range=(0.4, 1.0))
    pipeline = [
        dict(type='viewplug.MultiView', num_views=2, transforms=[[crop]], shared_flip=0.5),
        dict(type='mmpretrain.PackInputs', meta_keys=('sample_idx', 'crop_box', 'flip')),
    ]
    diary, hook = Diary(), LocalizationHook(start=1, interval=1)
    runner = toy_runner(tmp_path, hooks=[diary, hook], dataset=ToyImages(pipeline=pipeline))
    region = contrast(stages=('C3',))
    region['head'].update(downsample=8, window=24, stride=8, input_size=64)
    runner.model = toy_siamese(
        backbone=toy_resnet(),
        branches=dict(image=hcl_branch(queue_len=12), region=region),
        data_preprocessor=dict(mean=[127.5] * 3, std=[127.5] * 3),
    )
    loss, seen = runner.model.loss, []
    runner.model.loss = lambda *args, **extras: seen.append(loss(*args, **extras)) or seen[-1]
    runner.train()
    log = log_of(tmp_path)
    assert 'Boxes of 16 images after 1 epochs' in log and ' 0 (0.0%) because the heat map is dead' in log
    assert len(diary.losses) == len(seen) == 4
    assert all(step['region.valid_windows'] > 1 for step in seen)
    for step, logged in zip(seen, diary.losses, strict=True):
        assert logged == pytest.approx(float(step['image.loss'] + step['region.loss']), rel=1e-5)


def test_a_bf16_step_has_a_finite_loss_and_gradient():
    model = toy_siamese(backbone=toy_resnet(), **copy.deepcopy(FRAMEWORKS['moco_hcl_fpn']))
    with torch.autocast('cpu', dtype=torch.bfloat16):
        losses = model(list(torch.randn(2, 4, 3, SIZE, SIZE)), None, mode='loss', geometry=geometry_of(4))
    total(losses).backward()
    assert losses['region.loss'].dtype == torch.float32
    assert all(p.grad.isfinite().all() for p in model.branches['region'].parameters())


def a_step(kind: str, views, geometry, share: bool) -> tuple[float, dict]:
    torch.manual_seed(1)
    norm = dict(type='GN', num_groups=2)
    region = cosine(norm) if kind == 'byol' else contrast(norm_cfg=norm)
    target = dict(type='SharedTarget') if kind == 'simclr' else dict(type='MomentumTarget', momentum=0.9)
    views_of = {} if kind == 'moco' else BOTH
    backbone = toy_resnet(norm_cfg=dict(type='GN', num_groups=2))
    model = toy_siamese(backbone=backbone, branches=dict(region=region), target=target, **views_of)
    for p in model.backbone.layer3.parameters():  # no stage of the branch reads these
        p.requires_grad_(False)
    for p in model.backbone.layer4.parameters():
        p.requires_grad_(False)
    wrapped = model
    if share:
        half = slice(0, 4) if get_rank() == 0 else slice(4, 8)
        views = [view[half] for view in views]
        geometry = ViewGeometry(geometry.boxes[half], geometry.flips[half])
        wrapped = MMDistributedDataParallel(
            model, device_ids=None, broadcast_buffers=False, find_unused_parameters=True
        )
    loss = wrapped(views, None, mode='loss', geometry=geometry)['region.loss']
    loss.backward()
    return loss.item(), {key: p.grad.clone() for key, p in model.named_parameters() if p.grad is not None}


@pytest.mark.parametrize('kind', ['moco', 'simclr', 'byol'])
def test_two_processes_take_the_step_of_one_though_one_of_them_has_no_window(tmp_path, kind):
    views, geometry = list(torch.randn(2, 8, 3, SIZE, SIZE)), geometry_of(8)
    geometry.boxes[4:, 0], geometry.boxes[4:, 1] = torch.tensor([0, 0, 0.4, 0.4]), torch.tensor([0.5, 0.5, 1, 1])
    loss, gradients = a_step(kind, views, geometry, False)
    ranks = in_processes(a_step, tmp_path, kind, views, geometry, True)
    assert ranks[1][0] == 0 and ranks[0][0] / 2 == pytest.approx(loss, rel=1e-4)
    for _, found in ranks:
        assert found.keys() == gradients.keys()
        for key, expected in gradients.items():
            assert torch.allclose(found[key], expected, rtol=1e-3, atol=1e-5 * expected.abs().max()), key
