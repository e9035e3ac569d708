"""DINO, iBOT and ADCLR under a Runner: from images in a loader to logs, health and an exact resume."""

import pytest
import torch
from toy_runs import Diary, log_of, toy_runner
from toys import ToyImages, toy_siamese

from viewplug.hooks import EpochSeedHook, FreezeLastLayerHook, RepresentationHealthHook

PATCH, Q = 8, 3
CROP = dict(type='viewplug.RandomResizedCrop', scale=32, crop_ratio_range=(0.4, 1.0))
PIPELINE = [
    dict(type='viewplug.QueryCrops', num=Q, scale=PATCH),
    dict(type='viewplug.BlockMasks', num_views=2, grid=4, prob=1.0, ratio=0.5),
    dict(
        type='viewplug.MultiView',
        num_views=[1, 1, 2],
        transforms=[[CROP], [CROP], [dict(CROP, scale=16, crop_ratio_range=(0.05, 0.4))]],
    ),
    dict(type='viewplug.PackViews'),
]
VIT = dict(
    type='viewplug.QueryViT',
    model_name='vit_tiny_patch16_224',
    img_size=32,
    patch_size=PATCH,
    embed_dim=16,
    depth=2,
    num_heads=2,
    drop_path_rate=0.2,
    mask_token=True,
)
NECK = dict(type='viewplug.DINONeck', out_channels=24, hidden_channels=16, bottleneck_channels=8)
HEAD = dict(type='viewplug.DistillHead', warmup_epochs=3)
BRANCHES = dict(
    cls=dict(neck=NECK, head=HEAD),
    patch=dict(
        neck='cls',
        head=dict(type='viewplug.PatchDistillHead', warmup_epochs=3),
        reads='patch',
        masked=True,
        pairs='same',
        online_views=(0, 1),
    ),
    query=dict(neck='cls', head=HEAD, reads='query', online_views=(0, 1)),
)


def adclr():
    torch.manual_seed(2)
    return toy_siamese(
        backbone=VIT,
        branches=BRANCHES,
        target=dict(type='MomentumTarget', momentum=0.9, end_momentum=1.0, joint_views=True),
        online_views=(0, 1, 2, 3),
        target_views=(0, 1),
        joint_views=True,
        data_preprocessor=dict(type='viewplug.ViewsDataPreprocessor', mean=[127.5] * 3, std=[127.5] * 3),
    )


class Stop(Diary):
    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None) -> None:
        self.losses.append(outputs['loss'].item())


def run(work_dir, stop_before=None, resume=False, hooks=()):
    diary = Stop(stop_before)
    runner = toy_runner(
        work_dir,
        hooks=[EpochSeedHook(), FreezeLastLayerHook(epochs=1), diary, *hooks],
        dataset=ToyImages(pipeline=PIPELINE),
        max_epochs=3,
    )
    runner.model = adclr()
    if resume:
        runner._resume = True
    try:
        runner.train()
    except KeyboardInterrupt:
        assert stop_before is not None
    return diary.losses, {key: value.clone() for key, value in runner.model.state_dict().items()}, runner


def test_a_resumed_run_repeats_the_unbroken_one_to_the_bit(tmp_path):
    losses, state, _ = run(tmp_path / 'unbroken')
    begun, _, _ = run(tmp_path / 'broken', stop_before=1)
    rest, resumed, _ = run(tmp_path / 'broken', resume=True)
    assert [*begun, *rest] == losses and len(begun) == 2
    assert all(torch.equal(resumed[key], value) for key, value in state.items())
    assert state['branches.query.head.center'].norm() > 0


def test_log_and_health_show_entropy_kl_centre_and_rank_of_every_branch(tmp_path):
    losses, _, runner = run(tmp_path, hooks=[RepresentationHealthHook(interval=1)])
    assert all(torch.tensor(losses).isfinite())
    log, scalars = log_of(tmp_path), runner.message_hub.log_scalars
    for name in BRANCHES:
        for key in ('target_entropy', 'kl', 'center_norm'):
            assert f'{name}.{key}: ' in log and f'train/{name}.{key}' in scalars
        rank = scalars[f'health/{name}/effective_rank'].data[0][-1]
        assert 1 <= rank <= 16
    assert runner.model.latest['query']['online'][0].shape == (8 * Q, 16)


@pytest.mark.parametrize('kind', ['mmpretrain', 'timm'])
def test_dino_trains_on_other_peoples_vits(kind):
    if kind == 'mmpretrain':
        sizes = dict(embed_dims=16, num_layers=2, num_heads=2, feedforward_channels=32)
        backbone = dict(
            type='mmpretrain.VisionTransformer', arch=sizes, img_size=32, patch_size=8, out_type='cls_token'
        )
    else:
        sizes = dict(embed_dim=16, depth=2, num_heads=2, img_size=32, patch_size=8, dynamic_img_size=True)
        backbone = dict(type='mmpretrain.TIMMBackbone', model_name='vit_tiny_patch16_224', num_classes=0, **sizes)
    model = toy_siamese(
        backbone=backbone,
        branches=dict(cls=dict(neck=NECK, head=dict(type='DistillHead', warmup_epochs=0))),
        online_views=(0, 1, 2),
        target_views=(0, 1),
        joint_views=True,
    )
    losses = model([torch.randn(4, 3, size, size) for size in (32, 32, 16)], None, mode='loss')
    losses['cls.loss'].backward()
    assert model.latest['cls']['online'][2].shape == (4, 16)
    assert all(p.grad is not None for p in model.branches.parameters() if p.requires_grad)
