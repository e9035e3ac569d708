"""The record of where views were cut, against the pixels of an image that shows its own coordinates."""

import pickle
import re

import numpy as np
import pytest
import torch
from mmengine.dataset import Compose
from mmengine.registry import TRANSFORMS as ROOT
from mmpretrain.datasets.transforms import ColorJitter
from torch.nn.functional import grid_sample
from toy_runs import toy_runner
from toys import ToyImages, toy_resnet, toy_siamese

from viewplug.hooks import ViewGalleryHook
from viewplug.hooks.view_catcher import geometry_of
from viewplug.transforms import META_KEYS, MultiView
from viewplug.views import ViewGeometry

HEIGHT, WIDTH = 160, 200
CROP = dict(type='viewplug.RandomResizedCrop', scale=64, crop_ratio_range=(0.2, 0.8))
SECOND = dict(CROP, scale=24, crop_ratio_range=(0.5, 1.0))
FLIP = dict(type='mmpretrain.RandomFlip', prob=0.5)
PACK = dict(type='viewplug.PackViews')


def apply(*steps) -> dict:
    return dict(type='RandomApply', transforms=list(steps), prob=0.5)


def choose(*pipelines) -> dict:
    return dict(type='RandomChoice', transforms=[list(steps) for steps in pipelines])


def stock(name: str, **settings) -> dict:
    return dict(type=f'mmpretrain.{name}', **settings)


RESIZE = stock('Resize', scale=(90, 120))
ROTATE = stock('Rotate', angle=90.0, prob=0.5)
RANDAUGMENT = stock('RandAugment', policies='timm_increasing', num_policies=2, magnitude_level=5)
JITTER = apply(dict(type='viewplug.ColorJitter', brightness=0.0))
# Steps before MultiView, steps of the view, shared_flip.
RECORDED = {
    'crop': ([], [CROP], 0),
    'crop, flip': ([], [CROP, FLIP], 0),
    'shared flip': ([], [CROP], 0.5),
    'shared and own flip': ([], [CROP, FLIP], 0.5),
    'flip before MultiView': ([FLIP], [CROP], 0),
    'sure flip before MultiView': ([dict(FLIP, prob=1.0)], [CROP], 0),
    'flip before MultiView and own flip': ([FLIP], [CROP, FLIP], 0),
    'vertical flip before MultiView': ([dict(FLIP, direction='vertical')], [CROP, FLIP], 0),
    'turn before MultiView': ([dict(type='viewplug.QuarterTurn')], [CROP, FLIP], 0),
    'crop of ours before MultiView': ([dict(CROP, scale=128)], [CROP, FLIP], 0),
    'RandomCrop before MultiView': ([stock('RandomCrop', crop_size=120)], [CROP], 0),
    'flip before crop': ([], [FLIP, CROP], 0),
    'flips on both sides of the crop': ([], [FLIP, CROP, FLIP], 0.5),
    'two flips': ([], [CROP, FLIP, FLIP], 0),
    'two crops': ([], [CROP, SECOND], 0),
    'two crops with flips': ([], [FLIP, CROP, FLIP, SECOND, FLIP], 0),
    'flip in RandomApply': ([], [CROP, apply(FLIP)], 0),
    'crop in RandomApply': ([], [apply(CROP), FLIP, stock('Resize', scale=(64, 64))], 0),
    'flip or crop': ([], [CROP, choose([FLIP], [SECOND], [JITTER]), stock('Resize', scale=(24, 24))], 0),
    'Resize before crop': ([], [RESIZE, CROP], 0),
    'Resize behind crop': ([], [CROP, stock('Resize', scale=(30, 40)), FLIP], 0),
    'ContrastiveCrop and colour': ([], [dict(CROP, type='viewplug.ContrastiveCrop'), JITTER, FLIP], 0),
}
REFUSED = {
    'RandomCrop': [CROP, stock('RandomCrop', crop_size=40)],
    'RandomCrop ': [stock('RandomCrop', crop_size=120), CROP],
    'CenterCrop': [CROP, stock('CenterCrop', crop_size=40)],
    'RandomResizedCrop': [CROP, stock('RandomResizedCrop', scale=24)],
    'Rotate': [CROP, ROTATE],
    'Translate': [CROP, stock('Translate', magnitude=0.3)],
    'Shear': [CROP, stock('Shear', magnitude=0.3)],
    'Pad': [CROP, dict(type='Pad', size=(80, 80))],
    'QuarterTurn': [CROP, dict(type='viewplug.QuarterTurn')],
    'RandomApply around Rotate': [CROP, apply(JITTER, choose([FLIP], [ROTATE]))],
    'RandAugment around Rotate': [
        CROP,
        stock('RandAugment', policies='timm_increasing', num_policies=2, magnitude_level=5),
    ],
    'AutoAugment around Rotate': [CROP, stock('AutoAugment', policies='imagenet')],
    "RandomFlip with direction='vertical'": [CROP, dict(FLIP, direction='vertical')],
    "RandomFlip with direction=['horizontal', 'diagonal']": [CROP, dict(FLIP, direction=['horizontal', 'diagonal'])],
    'RandomHorizontalFlip': [CROP, dict(type='torchvision/RandomHorizontalFlip')],
    'RandomApply around several crops or flips': [CROP, apply(FLIP, FLIP)],
}


def coordinates() -> np.ndarray:
    """Pixels hold the place of their centre, in pixels; a linear ramp that bilinear resizing keeps."""
    rows, columns = np.mgrid[:HEIGHT, :WIDTH].astype(np.float32) + 0.5
    return np.stack([columns, rows, np.zeros_like(rows)], axis=-1)


def pipeline(before, view, shared_flip=0.0, number=2) -> Compose:
    multi_view = dict(type='viewplug.MultiView', num_views=number, transforms=[view], shared_flip=shared_flip)
    return Compose([*before, multi_view, PACK])


def sample(run, image=None) -> dict:
    image = coordinates() if image is None else image
    return run(dict(img=image, sample_idx=0, img_shape=image.shape[:2], ori_shape=image.shape[:2]))


def differences(found: dict) -> torch.Tensor:
    """How far apart in the image, in pixels, lie what view 0 shows at its pixels and view 1 at the mapped places."""
    first, second = (view[:2].float() for view in found['inputs'])
    height, width = first.shape[1:]
    v, u = np.mgrid[2 : height - 2, 2 : width - 2].reshape(2, -1) + 0.5
    points = torch.tensor(np.stack([u / width, v / height], axis=1), dtype=torch.float32)
    geometry = ViewGeometry.from_samples([found['data_samples']])
    mapped = geometry.map_regions(points.repeat(1, 2)[None], 0, 1)[0, :, :2]
    margin = 2 / torch.tensor([second.shape[2], second.shape[1]])
    inside = ((mapped > margin) & (mapped < 1 - margin)).all(dim=1)
    there = grid_sample(second[None], mapped[None, None] * 2 - 1, align_corners=False)[0, :, 0].T
    here = first[:, 2:-2, 2:-2].flatten(1).T
    return (here - there).abs().amax(dim=1)[inside]


@pytest.mark.parametrize('name', RECORDED)
def test_a_point_of_a_view_lies_where_the_geometry_says_in_another(name):
    before, view, shared_flip = RECORDED[name]
    run = pipeline(before, view, shared_flip)
    flips, compared = set(), []
    for _ in range(40):
        found = sample(run)
        flips.add(tuple(found['data_samples'].flip.tolist()))
        compared.append(differences(found))
    compared = torch.cat(compared)
    assert len(compared) > 4000 and compared.max() < 0.1, (len(compared), compared.max())
    assert (len(flips) > 1) == ('RandomFlip' in str(view) or shared_flip > 0)


def test_boxes_are_fractions_of_the_image_that_multi_view_was_given_and_name_its_pixels():
    run = pipeline([], [FLIP, CROP, FLIP, SECOND], number=4)
    for _ in range(20):
        found = sample(run)
        for view, box, flip in zip(found['inputs'], *box_and_flip(found), strict=True):
            row = view[0, 0]
            half = abs(row[1] - row[0]) / 2
            edges = [row[0] - half, row[-1] + half] if row[1] > row[0] else [row[-1] - half, row[0] + half]
            assert bool(row[1] < row[0]) == flip
            assert torch.tensor(edges) / WIDTH == pytest.approx(box[[0, 2]], abs=1e-3)


def box_and_flip(found: dict):
    return found['data_samples'].crop_box, found['data_samples'].flip


@pytest.mark.parametrize('name', REFUSED)
def test_a_step_that_cannot_be_recorded_is_named_to_who_asks_for_the_geometry_and_to_nobody_else(name):
    with ROOT.switch_scope_and_registry('mmpretrain'):
        run = pipeline([FLIP], REFUSED[name])
    if 'torchvision' not in str(REFUSED[name]):  # which takes PIL's images
        found = sample(run, np.random.randint(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8))
        geometry = ViewGeometry.from_samples([found['data_samples']] * 3)
        assert len(found['inputs']) == 2 and geometry.boxes.shape == (3, 0, 4) and not geometry.flips.any()
        assert geometry.iou(0, 1).tolist() == [-1, -1, -1]
        for ask in (geometry.require, lambda: geometry.overlap(0, 1), lambda: geometry.map_regions(None, 0, 1)):
            with pytest.raises(ValueError) as error:
                ask()
            assert str(error.value) == run.transforms[1].unknown
    said = run.transforms[1].unknown
    assert said.startswith('this run needs to know where each view was cut, and cannot: in train_dataloader.dataset.')
    assert re.search(rf'transforms\[0\] of viewplug.MultiView has (mmcv.|mmpretrain.)?{re.escape(name.strip())}', said)
    assert 'before MultiView' in said or 'one after the other' in said


def test_the_view_at_fault_is_named():
    multi_view = MultiView([[CROP], [CROP, ROTATE]], [2, 1])
    assert 'transforms[1] of viewplug.MultiView has Rotate, ' in multi_view.unknown
    assert MultiView([[CROP], [FLIP, stock('Resize', scale=(24, 24))]], [1, 1]).unknown is None


def test_a_transform_of_ones_own_says_whether_it_moves_pixels():
    def shift(results):
        results['img'] = np.roll(results['img'], 8, axis=1)
        return results

    class Noisier(ColorJitter):
        """Inherits that it does not."""

    assert MultiView([[CROP, Noisier()]], 2).unknown is None
    assert "has shift, which viewplug does not know; if it moves no pixels, set the attribute geometry = 'kept'" in (
        MultiView([[CROP, shift]], 2).unknown
    )

    def brighter(results):
        return results

    brighter.geometry = 'kept'
    assert MultiView([[CROP, brighter]], 2).unknown is None

    def left_half(results):
        results['img'] = results['img'][:, : results['img'].shape[1] // 2]
        results['crop_box'] = [0, 0, 0.5, 1]
        return results

    left_half.geometry = 'recorded'
    run = pipeline([], [CROP, FLIP, left_half])
    compared = torch.cat([differences(sample(run)) for _ in range(20)])
    assert len(compared) > 1000 and compared.max() < 0.1


def test_a_crop_that_records_nothing_leaves_no_flip_of_the_image_behind():
    run = Compose([dict(FLIP, prob=1.0), CROP, dict(type='viewplug.MultiView', num_views=2, transforms=[[ROTATE]])])
    found = sample(run)
    assert not {'flip', 'flip_direction', 'crop_box'} & set(found)


def test_a_pickled_multi_view_records_the_same():
    run = pipeline([], [FLIP, CROP, JITTER])
    copy = pickle.loads(pickle.dumps(run))
    results = []
    for one in (run, copy):
        np.random.seed(5)
        results.append(sample(one)['data_samples'])
    assert np.array_equal(results[0].crop_box, results[1].crop_box)
    assert np.array_equal(results[0].flip, results[1].flip)


def region_branch() -> dict:
    return dict(
        neck=dict(type='viewplug.RegionNeck', stages=('C3',), hidden_channels=8, out_channels=8),
        head=dict(type='viewplug.RegionHead', downsample=8, window=24, stride=8, input_size=64),
    )


@pytest.mark.parametrize('turns', [False, True])
def test_resim_stops_at_the_first_step_and_names_the_transform(turns, tmp_path):
    view = [CROP, *([dict(type='viewplug.QuarterTurn')] if turns else [FLIP])]
    steps = [dict(type='viewplug.MultiView', num_views=2, transforms=[view]), PACK]
    runner = toy_runner(tmp_path, dataset=ToyImages(pipeline=steps), max_epochs=1)
    runner.model = toy_siamese(
        backbone=toy_resnet(),
        branches=dict(region=region_branch()),
        data_preprocessor=dict(mean=[127.5] * 3, std=[127.5] * 3),
    )
    if not turns:
        runner.train()
        return
    with pytest.raises(ValueError, match=r'transforms\[0\] of viewplug.MultiView has QuarterTurn.* leave it out'):
        runner.train()


def test_a_model_that_needs_no_geometry_trains_on_turned_views_and_draws_them(tmp_path):
    view = [dict(CROP, scale=32), FLIP, dict(type='viewplug.QuarterTurn', turns=(0, 1, 2, 3), prob=1.0)]
    steps = [
        dict(type='viewplug.MultiView', num_views=2, transforms=[view]),
        dict(type='mmpretrain.PackInputs', meta_keys=META_KEYS),
    ]
    runner = toy_runner(tmp_path, hooks=[ViewGalleryHook()], dataset=ToyImages(pipeline=steps), max_epochs=1)
    runner.train()
    assert runner.iter == 2
    assert all((tmp_path / folder / 'epoch_0.png').exists() for folder in ('vis_views', 'vis_crops'))


@pytest.mark.parametrize(
    'box',
    [(8, 0, 40, 64), (0.5, 0, 0.5, 1), (0, 0, 1), (-1e-5, 0, 1, 1), (0, float('nan'), 1, 1), (-1e-9, 0, 0, 1)],
    ids=['pixels', 'empty', 'three', 'outside', 'nan', 'empty inside'],
)
def test_a_crop_of_ones_own_that_records_no_fractions_is_refused(box):
    def own_crop(results):
        return results | dict(crop_box=box)

    own_crop.geometry = 'recorded'
    with pytest.raises(ValueError, match=r'own_crop must record crop_box as x0, y0, x1, y1 in fractions .* got \['):
        MultiView([[own_crop]], 2)(dict(img=np.zeros((64, 64, 3), np.uint8)))


def test_a_crop_that_rounding_has_moved_out_of_the_image_is_at_its_edge():
    def own_crop(results):
        return results | dict(crop_box=(-1e-9, 0.25, 0.5, 1 + 1e-7))

    own_crop.geometry = 'recorded'
    found = MultiView([[own_crop]], 2)(dict(img=np.zeros((64, 64, 3), np.uint8)))
    assert found['crop_box'].tolist() == [[0, 0.25, 0.5, 1]] * 2


def test_the_boxes_of_an_unknown_geometry_cannot_be_taken_for_real_ones():
    found = sample(pipeline([], [CROP, ROTATE]), np.zeros((HEIGHT, WIDTH, 3), np.uint8))
    with pytest.raises(ValueError):
        geometry_of(dict(data_samples=[found['data_samples']]))[1].boxes[:, 0]
