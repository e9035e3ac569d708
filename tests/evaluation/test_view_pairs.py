"""Pairs of views for tests of a trained network: their strength, their crops, their order."""

import copy

import pytest
import torch
from mmengine import Config

from viewplug.evaluation.view_pairs import ViewPairs, set_view_pairs, strengthened

CROP = dict(type='viewplug.RandomResizedCrop', scale=16, crop_ratio_range=(0.2, 1.0), backend='pillow')
JITTER = dict(type='ColorJitter', brightness=0.4, contrast=0.4, saturation=[0.5, 1.5], hue=0.1)
VIEW = [
    CROP,
    dict(type='RandomApply', transforms=[JITTER], prob=0.8),
    dict(type='RandomGrayscale', prob=0.2),
    dict(type='Solarize', thr=128),
    dict(type='RandomFlip', prob=0.5),
]


def config(view=None, multi_view='viewplug.MultiView', keys=('sample_idx', 'crop_box', 'flip'), **changes):
    steps = [
        dict(type=multi_view, num_views=2, transforms=[view or [CROP, dict(type='RandomFlip', prob=0.5)]]),
        dict(type='PackInputs', meta_keys=keys),
    ]
    dataset = dict(type='viewplug.ShapeScenes', num_images=10, image_size=24, pipeline=steps)
    loader = dict(batch_size=4, num_workers=0, collate_fn=dict(type='default_collate'), dataset=dataset)
    preprocessor = dict(type='mmpretrain.SelfSupDataPreprocessor', mean=[0.0] * 3, std=[1.0] * 3)
    return Config(dict(model=dict(), train_dataloader=loader, data_preprocessor=preprocessor, **changes))


@pytest.fixture(autouse=True)
def scope():
    from mmengine.registry import DefaultScope

    with DefaultScope.overwrite_default_scope('mmpretrain'):
        yield


def test_strength_one_changes_nothing_and_zero_leaves_the_crop():
    assert strengthened(VIEW, 1) == VIEW
    assert strengthened(VIEW, 0) == [CROP]
    turned = dict(type='NumpyToPIL', to_rgb=True)
    assert strengthened([turned, *VIEW, dict(type='PILToNumpy')], 0) == [turned, CROP, dict(type='PILToNumpy')]
    assert strengthened([dict(type='Resize', scale=8), *VIEW], 0) == [dict(type='Resize', scale=8), CROP]


def test_ranges_and_probabilities_grow_with_the_strength_up_to_their_bounds():
    _, jitter, grey, solarize, flip = strengthened(VIEW, 0.5)
    assert jitter['prob'] == 0.8
    assert jitter['transforms'] == [
        dict(type='ColorJitter', brightness=0.2, contrast=0.2, saturation=[0.75, 1.25], hue=0.05)
    ]
    assert grey['prob'] == 0.1 and flip['prob'] == 0.25
    assert solarize == dict(type='RandomApply', transforms=[dict(type='Solarize', thr=128)], prob=0.5)
    _, jitter, grey, solarize, flip = strengthened(VIEW, 6)
    assert jitter['transforms'][0]['hue'] == 0.5 and jitter['transforms'][0]['saturation'] == [0, 4]
    assert grey['prob'] == flip['prob'] == solarize['prob'] == 1
    with pytest.raises(ValueError, match='strength must be at least 0'):
        strengthened(VIEW, -1)


def test_every_image_comes_once_with_its_geometry_and_a_seed_repeats_it():
    cfg = config()
    before = copy.deepcopy(cfg.to_dict())
    first, again, other = (list(ViewPairs(cfg, batch_size=4, seed=seed)) for seed in (0, 0, 1))
    assert cfg.to_dict() == before
    assert [len(view) for view, _, _ in first] == [4, 4, 2]
    for (a, b, geometry), (c, d, _) in zip(first, again, strict=True):
        assert torch.equal(a, c) and torch.equal(b, d) and not torch.equal(a, b)
        assert geometry.boxes.shape == (len(a), 2, 4) and not geometry.flips.any()
    assert not torch.equal(first[0][0], other[0][0])


def test_views_made_in_batch_have_the_same_crops_and_no_flips_at_strength_zero():
    from viewplug.batch_views import to_device_views

    cfg = config()
    cfg.model.type = 'viewplug.Siamese'
    to_device_views(cfg)
    pairs = list(ViewPairs(cfg, batch_size=5))
    assert [view.shape for view, _, _ in pairs] == [(5, 3, 16, 16)] * 2
    assert not any(geometry.flips.any() for _, _, geometry in pairs)
    flipped = [geometry.flips for _, _, geometry in ViewPairs(cfg, strength=1, batch_size=5)]
    assert 0 < torch.cat(flipped).float().mean() < 1
    assert cfg.data_preprocessor.num_views == 2


def test_stock_transforms_are_replaced_by_ones_that_record_where_they_cut():
    stock = [dict(type='mmpretrain.RandomResizedCrop', scale=16)]
    cfg = config(view=stock, multi_view='MultiView', keys=('img_path',))
    _, _, geometry = next(iter(ViewPairs(cfg)))
    assert geometry is not None and (geometry.boxes[..., 2:] > geometry.boxes[..., :2]).all()


def test_contrastive_crop_becomes_random_with_its_ranges_unless_it_is_asked_for():
    crop = dict(type='viewplug.ContrastiveCrop', scale=16, alpha=0.1, backend='pillow')
    cfg = config(view=[crop])
    set_view_pairs(cfg, 0)
    (step,) = cfg.train_dataloader.dataset.pipeline[0].transforms[0]
    assert step['type'] == 'viewplug.RandomResizedCrop' and step['crop_ratio_range'] == (0.2, 1.0)
    assert 'alpha' not in step and step['backend'] == 'pillow'
    own = ViewPairs(config(view=[crop]), own_crops=True)
    boxes = torch.tensor([[0.49, 0.49, 0.51, 0.51]]).repeat(10, 1)
    assert not own.restore_boxes({})
    assert own.restore_boxes(dict(localization=dict(lengths=[10], boxes=boxes)))
    _, _, geometry = next(iter(own))
    centres = (geometry.boxes[..., :2] + geometry.boxes[..., 2:]) / 2
    assert ((centres - 0.5).abs() < 0.05).all()


def test_the_first_two_views_of_multi_crop_are_the_global_ones():
    cfg = config()
    maker = cfg.train_dataloader.dataset.pipeline[0]
    small = dict(CROP, scale=8)
    maker.transforms, maker.num_views = [[CROP], [small]], [2, 4]
    set_view_pairs(cfg, 0)
    maker = cfg.train_dataloader.dataset.pipeline[0]
    assert maker.num_views == [1, 1] and [view[0].scale for view in maker.transforms] == [16, 16]


def test_a_config_without_views_is_named():
    cfg = config()
    del cfg.train_dataloader.dataset.pipeline[0]
    with pytest.raises(
        ValueError, match=r"the one MultiView in train_dataloader.dataset.pipeline, got \['PackInputs'\]"
    ):
        ViewPairs(cfg)
