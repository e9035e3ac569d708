"""Patches, dropped colours and packing, against slices written out and against counts."""

import numpy as np
import pytest
import torch
from mmcv.transforms import BaseTransform
from mmengine.dataset import default_collate

from viewplug.batch_views import ViewsDataPreprocessor
from viewplug.transforms import DropColours, PackViews, PatchGrid


def coordinates(height: int, width: int) -> np.ndarray:
    """Each pixel holds its row and column."""
    rows, columns = np.mgrid[:height, :width]
    return np.stack([rows, columns, np.zeros_like(rows)], axis=-1).astype(np.uint8)


def corners(patches: np.ndarray) -> np.ndarray:
    """(rows, cols, 2): the row and column of each patch's first pixel."""
    return patches[..., :2, 0, 0].astype(int)


@pytest.mark.parametrize(
    ('size', 'step', 'shape', 'first'),
    [
        ((256, 256), dict(patch_size=64, stride=32), (7, 7), (0, 0)),  # CPC
        ((256, 256), dict(patch_size=64, overlap=32), (7, 7), (0, 0)),
        ((260, 260), dict(patch_size=80, stride=36), (6, 6), (0, 0)),  # CPC v2
        ((100, 130), dict(patch_size=40), (2, 3), (10, 5)),
        ((40, 40), dict(patch_size=40, stride=7), (1, 1), (0, 0)),
    ],
)
def test_patches_are_the_slices_of_the_image(size, step, shape, first):
    image = np.concatenate([coordinates(*size)[..., :2], np.random.randint(0, 256, (*size, 1))], axis=-1)
    grid = PatchGrid(**step)
    results = grid(dict(img=image))
    patches = results['patches']
    assert patches.shape == (*shape, 3, grid.patch_size, grid.patch_size) and results['img'] is image
    for row, col in np.ndindex(*shape):
        y, x = first[0] + row * grid.stride, first[1] + col * grid.stride
        expected = image[y : y + grid.patch_size, x : x + grid.patch_size]
        assert np.array_equal(patches[row, col].transpose(1, 2, 0), expected)


def test_jitter_moves_each_patch_alone_uniformly_and_stays_inside_its_cell():
    grid = PatchGrid(patch_size=10, stride=14, jitter=4)  # three cells of 14 pixels
    moved = np.stack([corners(grid(dict(img=coordinates(42, 42)))['patches']) for _ in range(400)])
    moved -= 14 * np.stack(np.mgrid[:3, :3], axis=-1)
    assert moved.min() == 0 and moved.max() == 4
    counts = np.stack([np.bincount(column, minlength=5) for column in moved.reshape(400, -1).T])
    expected = 80
    assert ((counts - expected) ** 2 / expected).sum(axis=1).max() < 30  # chi-square, 4 degrees: 1e-5 is 28.5
    flat = moved.reshape(400, -1).astype(float)
    correlation = np.corrcoef(flat.T) - np.eye(18)
    assert abs(correlation).max() < 0.25


class Draw(BaseTransform):
    def transform(self, results):
        results['img'] = np.full_like(results['img'], np.random.randint(256))
        return results


def test_each_patch_is_augmented_with_random_numbers_of_its_own_and_the_image_is_not_touched():
    image = coordinates(64, 64)
    before = image.copy()
    patches = PatchGrid(16, transforms=[Draw()])(dict(img=image))['patches']
    assert len(np.unique(patches[..., 0, 0, 0])) > 8 and np.array_equal(image, before)
    for patch in patches.reshape(16, -1):
        assert len(np.unique(patch)) == 1


def test_transforms_come_as_configs_of_any_library():
    steps = [
        dict(type='mmpretrain.RandomCrop', crop_size=12),
        dict(type='mmcv.Pad', size=(16, 16)),
        dict(type='viewplug.DropColours', prob=1.0),
    ]
    patches = PatchGrid(16, 8, transforms=steps)(dict(img=np.full((32, 32, 3), 200, np.uint8)))['patches']
    assert patches.shape == (3, 3, 3, 16, 16)
    assert (patches[..., :12, :12] == 200).all() and (patches[..., 12:, :] == 0).all()


@pytest.mark.parametrize(
    ('settings', 'sentence'),
    [
        (dict(patch_size=0), r'patch_size must be .* at least 1, got 0'),
        (dict(patch_size=8, overlap=8), r'stride must be .* got 0'),
        (dict(patch_size=8, stride=4, overlap=4), r'stride=4 and overlap=4 say the same'),
        (dict(patch_size=8, jitter=-1), r'jitter must be .* got -1'),
    ],
)
def test_numbers_that_make_no_sense_are_named(settings, sentence):
    with pytest.raises(ValueError, match=sentence):
        PatchGrid(**settings)


def test_an_image_that_holds_no_patch_and_a_patch_that_changes_its_size_are_refused():
    with pytest.raises(ValueError, match=r'30 x 64 px holds no patch of patch_size=32'):
        PatchGrid(32)(dict(img=coordinates(30, 64)))
    with pytest.raises(ValueError, match=r'patch of \(16, 16, 3\) one of \(12, 12, 3\)'):
        PatchGrid(16, transforms=[dict(type='mmpretrain.RandomCrop', crop_size=12)])(dict(img=coordinates(32, 32)))


def test_dropping_keeps_one_channel_each_as_often():
    image = np.random.randint(0, 256, (6, 6, 3), dtype=np.uint8)
    drop = DropColours(prob=0.6, fill='zero')
    kept = [tuple(drop(dict(img=image))['img'].any(axis=(0, 1))) for _ in range(3000)]
    counts = {pattern: kept.count(pattern) for pattern in set(kept)}
    assert set(map(sum, counts)) == {1, 3} and len(counts) == 4
    assert abs(counts.pop((True, True, True)) - 1200) < 120  # 4.5 deviations
    assert all(abs(count - 600) < 100 for count in counts.values())


@pytest.mark.parametrize('fill', ['repeat', 'noise', 'zero'])
def test_what_stands_in_a_dropped_channel(fill):
    image = np.random.randint(0, 256, (40, 40, 3), dtype=np.uint8)
    found = DropColours(prob=1.0, fill=fill)(dict(img=image))['img']
    same = [np.array_equal(found[..., c], image[..., c]) for c in range(3)]
    assert found.dtype == np.uint8 and sum(same) == 1
    channel = image[..., same.index(True)]
    for dropped in (found[..., c] for c in range(3) if not same[c]):
        if fill == 'repeat':
            assert np.array_equal(dropped, channel)
        elif fill == 'zero':
            assert not dropped.any()
        else:
            assert abs(dropped.mean() - 127.5) < 0.2 and 0.4 < dropped.std() < 1.2


@pytest.mark.parametrize(('settings', 'sentence'), [(dict(prob=2), 'prob'), (dict(fill='grey'), "fill.*'grey'")])
def test_dropping_names_a_setting_that_it_does_not_know(settings, sentence):
    with pytest.raises(ValueError, match=sentence):
        DropColours(**settings)


def test_patches_reach_the_model_under_their_own_name_normalised_as_the_image_is():
    image = np.random.randint(0, 256, (24, 24, 3), dtype=np.uint8)
    steps = (PatchGrid(8), PackViews())
    samples = []
    for index in range(2):
        results = dict(img=image, sample_idx=index)
        for step in steps:
            results = step(results)
        samples.append(results)
    assert samples[0]['patches'].shape == (3, 3, 3, 8, 8) and samples[0]['patches'].dtype == torch.uint8
    mean, std = [123.675, 116.28, 103.53], [58.395, 57.12, 57.375]
    data = ViewsDataPreprocessor(mean=mean, std=std, to_rgb=True)(default_collate(samples), training=True)
    assert set(data) == {'inputs', 'data_samples', 'patches'} and data['patches'].shape == (2, 3, 3, 3, 8, 8)
    tiled = data['patches'].permute(0, 3, 1, 4, 2, 5).reshape(2, 3, 24, 24)
    assert torch.equal(tiled, data['inputs'])
    rgb = torch.from_numpy(image[..., ::-1].copy()).permute(2, 0, 1).float()
    expected = (rgb - torch.tensor(mean).view(3, 1, 1)) / torch.tensor(std).view(3, 1, 1)
    assert torch.allclose(data['inputs'][1], expected) and data['data_samples'][1].sample_idx == 1
