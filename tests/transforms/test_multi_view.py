"""Views and the record of where they were cut."""

import numpy as np
import pytest
import torch
from mmcv import imresize
from mmcv.transforms import BaseTransform
from mmengine.dataset import Compose, default_collate
from mmengine.registry import TRANSFORMS as ROOT
from mmengine.registry import DefaultScope
from mmpretrain.datasets.transforms import MultiView as StockMultiView
from mmpretrain.datasets.transforms import RandomResizedCrop as StockCrop

from viewplug.transforms import META_KEYS, MultiView, RandomResizedCrop
from viewplug.views import ViewGeometry

HEIGHT, WIDTH = 60, 90


def coordinate_image() -> np.ndarray:
    """Each pixel holds its row and column."""
    rows, columns = np.mgrid[:HEIGHT, :WIDTH]
    return np.stack([rows, columns, np.zeros_like(rows)], axis=-1).astype(np.uint8)


def noise() -> np.ndarray:
    return np.random.RandomState(0).randint(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)


@pytest.mark.parametrize('backend', ['cv2', 'pillow'])
@pytest.mark.parametrize('ratio', [(0.2, 1.0), (1.0, 1.0)], ids=['usual', 'central fallback'])
def test_the_crop_is_the_stock_one_bit_for_bit(backend, ratio):
    settings = dict(scale=24, crop_ratio_range=ratio, backend=backend)
    ours, stock = RandomResizedCrop(**settings), StockCrop(**settings)
    for seed in range(20):
        np.random.seed(seed)
        expected = stock(dict(img=noise()))
        after_stock = np.random.rand()
        np.random.seed(seed)
        found = ours(dict(img=noise()))
        assert np.array_equal(found['img'], expected['img']) and found['img_shape'] == expected['img_shape']
        assert np.random.rand() == after_stock


@pytest.mark.parametrize('interpolation', ['nearest', 'bilinear'])
def test_the_crop_box_names_the_very_pixels(interpolation):
    crop = RandomResizedCrop(scale=(20, 30), crop_ratio_range=(0.2, 1.0), interpolation=interpolation)
    image = coordinate_image()
    for _ in range(50):
        found = crop(dict(img=image))
        corners = found['crop_box'] * [WIDTH, HEIGHT, WIDTH, HEIGHT]
        x0, y0, x1, y1 = np.rint(corners).astype(int)
        assert found['crop_box'].dtype == np.float32 and np.abs(corners - [x0, y0, x1, y1]).max() < 1e-4
        assert np.array_equal(found['img'], imresize(image[y0:y1, x0:x1], (30, 20), interpolation=interpolation))
        if interpolation == 'nearest':
            assert image[y0, x0].tolist() == found['img'][0, 0].tolist()
            assert found['img'][..., 0].max() < y1 and found['img'][..., 1].max() < x1


@pytest.mark.parametrize('around', [lambda step: step, lambda step: dict(type='RandomApply', transforms=step)])
def test_a_step_of_somebodys_own_that_a_librarys_of_the_same_name_hides_is_refused(around, monkeypatch):
    class ColorJitter(BaseTransform):
        def transform(self, results):
            return results | dict(img=results['img'] * 0)

    monkeypatch.setitem(ROOT.module_dict, 'ColorJitter', ColorJitter)
    crop = dict(type='viewplug.RandomResizedCrop', scale=24)
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        with pytest.raises(ValueError, match=r"type='ColorJitter' is .* and mmpretrain\..*, which would be built"):
            MultiView([[crop, around(dict(type='ColorJitter'))]], 2)
        for name, is_own in (('mmengine', True), ('mmpretrain', False), ('viewplug', False)):
            step = MultiView([[crop, dict(type=f'{name}.ColorJitter')]], 2).pipelines[0].transforms[1]
            assert (type(step) is ColorJitter) is is_own


def test_a_crop_of_the_whole_image_has_the_unit_box():
    crop = RandomResizedCrop(scale=24, crop_ratio_range=(1.0, 1.0), aspect_ratio_range=(1.5, 1.5))
    assert crop(dict(img=noise()))['crop_box'].tolist() == [0, 0, 1, 1]


def test_a_crop_in_its_own_size_is_the_box_cut_out():
    image = coordinate_image()
    found = MultiView([[RandomResizedCrop(scale=24), dict(type='mmpretrain.RandomFlip', prob=0.5)]], 4)(dict(img=image))
    for view, box, flip in zip(found['img'], found['crop_box'], found['flip'], strict=True):
        columns = view[0, :, 1].astype(int)
        assert (columns[0] > columns[-1]) == flip
        x0, _, x1, _ = np.rint(box * [WIDTH, HEIGHT, WIDTH, HEIGHT]).astype(int)
        assert abs(columns.min() - x0) <= 3 and abs(columns.max() + 1 - x1) <= 3


def pipeline(view=None, number=2, multi_view='viewplug.MultiView', **changes):
    view = view or [dict(type='viewplug.RandomResizedCrop', scale=24), dict(type='mmpretrain.RandomFlip', prob=0.5)]
    return Compose(
        [
            dict(type=multi_view, num_views=number, transforms=[view]),
            dict(type='mmpretrain.PackInputs', meta_keys=META_KEYS),
        ]
    )


def batch(run, number: int = 5) -> dict:
    return default_collate([run(dict(img=coordinate_image(), sample_idx=index)) for index in range(number)])


def test_geometry_survives_packing_and_collating():
    found = batch(pipeline(number=3))
    assert [tuple(view.shape) for view in found['inputs']] == [(5, 3, 24, 24)] * 3
    geometry = ViewGeometry.from_samples(found['data_samples'])
    assert geometry.boxes.shape == (5, 3, 4) and geometry.boxes.dtype == torch.float32
    assert geometry.flips.shape == (5, 3) and 0 < geometry.flips.sum() < 15
    assert [sample.sample_idx for sample in found['data_samples']] == list(range(5))
    for n in range(5):
        for v in range(3):
            columns = found['inputs'][v][n, 1, 0].float()
            left, right = geometry.boxes[n, v, 0] * WIDTH, geometry.boxes[n, v, 2] * WIDTH
            assert abs(columns.min() - left) <= 3 and abs(columns.max() + 1 - right) <= 3
            assert bool(columns[0] > columns[-1]) == bool(geometry.flips[n, v])


def test_the_same_point_of_two_views_shows_the_same_pixel():
    found = batch(pipeline(), number=20)
    geometry = ViewGeometry.from_samples(found['data_samples'])
    points = torch.rand(20, 6, 2)
    mapped = geometry.map_regions(torch.cat([points, points], dim=2), 0, 1)[..., :2]
    compared = 0
    for n in range(20):
        for (u, v), (s, t) in zip(points[n].tolist(), mapped[n].tolist(), strict=True):
            if 0 <= s < 1 and 0 <= t < 1:
                a = found['inputs'][0][n, :2, int(v * 24), int(u * 24)].int()
                b = found['inputs'][1][n, :2, int(t * 24), int(s * 24)].int()
                assert (a - b).abs().max() <= 5  # two pixels of up to 90 / 24 source pixels
                compared += 1
    assert compared > 20


def test_the_views_are_those_of_the_stock_multi_view():
    view = [dict(type='mmpretrain.RandomResizedCrop', scale=24), dict(type='mmpretrain.RandomFlip', prob=0.5)]
    np.random.seed(4)
    expected = StockMultiView([view], 2)(dict(img=noise()))
    np.random.seed(4)
    found = MultiView([view], 2)(dict(img=noise()))
    assert all(np.array_equal(a, b) for a, b in zip(found['img'], expected['img'], strict=True))


def test_a_stock_crop_records_no_geometry():
    view = [dict(type='mmpretrain.RandomResizedCrop', scale=24), dict(type='mmpretrain.RandomFlip', prob=0.5)]
    found = batch(pipeline(view))
    assert 'crop_box' not in found['data_samples'][0]
    assert ViewGeometry.from_samples(found['data_samples']) is None


@pytest.mark.parametrize('samples', [None, [], [None]])
def test_no_samples_make_no_geometry(samples):
    assert ViewGeometry.from_samples(samples) is None


def test_the_stock_multi_view_records_no_geometry():
    assert ViewGeometry.from_samples(batch(pipeline(multi_view='mmpretrain.MultiView'))['data_samples']) is None


@pytest.mark.parametrize('own', [0.0, 0.5, 1.0])
def test_a_shared_flip_mirrors_all_views_or_none_and_the_geometry_knows(own):
    view = [dict(type='viewplug.RandomResizedCrop', scale=24), dict(type='mmpretrain.RandomFlip', prob=own)]
    run = MultiView([view], 3, shared_flip=0.5)
    flips = []
    for _ in range(60):
        found = run(dict(img=coordinate_image()))
        flips.append(found['flip'])
        for image, flip in zip(found['img'], found['flip'], strict=True):
            assert (int(image[0, 0, 1]) > int(image[0, -1, 1])) == flip
    together = np.stack(flips).all(axis=1) | ~np.stack(flips).any(axis=1)
    assert 10 < np.stack(flips)[:, 0].sum() < 50
    assert together.all() if own in (0, 1) else not together.all()


def test_without_a_shared_flip_no_random_number_is_spent_on_it():
    np.random.seed(3)
    MultiView([[RandomResizedCrop(scale=24)]], 2)(dict(img=noise()))
    after = np.random.rand()
    np.random.seed(3)
    for _ in range(2):
        RandomResizedCrop(scale=24)(dict(img=noise()))
    assert np.random.rand() == after


def test_a_shared_flip_is_a_probability():
    with pytest.raises(ValueError, match='shared_flip must lie in .0, 1., got 2'):
        MultiView([[RandomResizedCrop(scale=24)]], 2, shared_flip=2)


@pytest.mark.parametrize('recorded', [True, False], ids=['recorded', 'stock crop'])
def test_a_view_that_gives_up_its_image_gives_up_the_sample(recorded):
    class Picky:
        geometry = 'kept'

        def __call__(self, results):
            return None if results['img'].mean() > 100 else results

    crop = dict(type=RandomResizedCrop if recorded else StockCrop, scale=24)
    views = MultiView([[Picky(), crop], [crop]], num_views=[1, 1])
    assert views(dict(img=noise())) is None
    assert len(views(dict(img=noise() // 4))['img']) == 2
