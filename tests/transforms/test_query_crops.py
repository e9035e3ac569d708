"""Query patches from the image to the model's forward, on both ways."""

import numpy as np
import pytest
import torch
from mmcv import imresize
from mmengine import Config
from mmengine.dataset import Compose, default_collate, pseudo_collate
from mmpretrain.models.utils.data_preprocessor import SelfSupDataPreprocessor

from viewplug.batch_views import BatchViews, ViewsDataPreprocessor, to_device_views
from viewplug.registry import MODELS
from viewplug.transforms import QueryCrops, RandomResizedCrop

HEIGHT, WIDTH = 60, 90
CROP = dict(type='viewplug.RandomResizedCrop', scale=32)
MEAN, STD = [10.0, 20.0, 30.0], [2.0, 4.0, 8.0]
BESIDE = [dict(type='viewplug.QueryCrops', num=3, scale=8), dict(type='viewplug.BlockMasks', grid=4)]
VIEWS = dict(type='viewplug.MultiView', num_views=2, transforms=[[CROP]])
PACK = dict(type='viewplug.PackViews')


def noise(seed: int = 0) -> np.ndarray:
    return np.random.RandomState(seed).randint(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)


def test_crops_are_those_of_random_resized_crop():
    np.random.seed(0)
    found = QueryCrops(num=6, scale=8, backend='pillow')(dict(img=noise()))
    np.random.seed(0)
    crop = RandomResizedCrop(scale=8, crop_ratio_range=(0.05, 0.25), backend='pillow')
    expected = [crop(dict(img=noise())) for _ in range(6)]
    assert found['queries'].shape == (6, 3, 8, 8) and found['queries'].dtype == np.uint8
    assert np.array_equal(found['queries'].transpose(0, 2, 3, 1), np.stack([one['img'] for one in expected]))
    assert np.array_equal(found['query_boxes'], np.stack([one['crop_box'] for one in expected]))
    assert np.array_equal(found['img'], noise())


def test_boxes_name_the_pixels_and_have_a_twentieth_to_a_quarter_of_the_area():
    np.random.seed(1)
    found = QueryCrops(num=200, scale=4)(dict(img=noise()))
    x0, y0, x1, y1 = found['query_boxes'].T
    area = (x1 - x0) * (y1 - y0)
    assert 0.045 < area.min() < 0.07 and 0.23 < area.max() < 0.26 and abs(area.mean() - 0.15) < 0.02
    corners = np.rint(found['query_boxes'][0] * [WIDTH, HEIGHT, WIDTH, HEIGHT]).astype(int)
    part = noise()[corners[1] : corners[3], corners[0] : corners[2]]
    assert np.array_equal(found['queries'][0].transpose(1, 2, 0), imresize(part, (4, 4), backend='pillow'))


def test_each_query_can_be_augmented_by_itself():
    jitter = dict(type='mmpretrain.ColorJitter', brightness=0.9)
    np.random.seed(2)
    flat = np.full((HEIGHT, WIDTH, 3), 100, np.uint8)
    found = QueryCrops(num=8, scale=4, transforms=[jitter])(dict(img=flat))['queries']
    levels = [np.unique(query) for query in found]
    assert all(len(level) == 1 for level in levels) and len({int(level[0]) for level in levels}) > 4


def sample(seed: int) -> dict:
    np.random.seed(seed)
    return Compose([*BESIDE, VIEWS, PACK])(dict(img=noise(seed), sample_idx=seed))


def test_extras_travel_through_packing_collation_and_normalisation_to_forwards_arguments():
    samples = [sample(seed) for seed in range(4)]
    assert samples[0]['data_samples'].crop_box.shape == (2, 4)
    batch = default_collate(samples)
    raw = {key: batch[key].clone() for key in ('queries', 'query_boxes', 'masks')}
    preprocessor = MODELS.build(dict(type='viewplug.ViewsDataPreprocessor', mean=MEAN, std=STD, to_rgb=True))
    found = preprocessor(batch, training=True)
    assert set(found) == {'inputs', 'data_samples', 'queries', 'query_boxes', 'masks'}
    assert found['queries'].shape == (4, 3, 3, 8, 8) and found['query_boxes'].shape == (4, 3, 4)
    assert found['masks'].shape == (4, 2, 4, 4) and found['masks'].dtype == torch.bool
    assert torch.equal(found['query_boxes'], raw['query_boxes']) and torch.equal(found['masks'], raw['masks'])
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (MEAN, STD))
    assert torch.allclose(found['queries'], (raw['queries'].flip(2).float() - mean) / std)


def test_a_loader_without_default_collate_is_told_which_one_to_set():
    preprocessor = MODELS.build(dict(type='viewplug.ViewsDataPreprocessor', mean=MEAN, std=STD, to_rgb=True))
    with pytest.raises(ValueError, match=r"one by one in a tuple: set collate_fn=dict\(type='default_collate'\)"):
        preprocessor(pseudo_collate([sample(seed) for seed in range(2)]), training=True)


def test_views_come_out_as_from_the_stock_preprocessor():
    settings = dict(mean=MEAN, std=STD, to_rgb=True)
    views = default_collate([sample(seed) for seed in range(3)])
    views = dict(inputs=views['inputs'], data_samples=views['data_samples'])
    stock, ours = SelfSupDataPreprocessor(**settings)(views), ViewsDataPreprocessor(**settings)(views)
    assert all(torch.equal(a, b) for a, b in zip(stock['inputs'], ours['inputs'], strict=True))
    one = dict(inputs=torch.randint(0, 256, (2, 3, 8, 8)), data_samples=None)
    assert torch.equal(
        SelfSupDataPreprocessor(**settings)(one)['inputs'], ViewsDataPreprocessor(**settings)(one)['inputs']
    )


@pytest.mark.parametrize('channels', [1, 4])
def test_channels_are_turned_round_of_three_only(channels):
    views = dict(inputs=[torch.zeros(2, channels, 8, 8, dtype=torch.uint8)], data_samples=None)
    with pytest.raises(ValueError, match=rf'to_rgb.* 3 channels, got \(2, {channels}, 8, 8\)'):
        ViewsDataPreprocessor(to_rgb=True)(views)
    assert ViewsDataPreprocessor()(views)['inputs'][0].shape == (2, channels, 8, 8)


def device_config(**changes) -> Config:
    beside = [{**BESIDE[0], **changes}, BESIDE[1]]
    dataset = dict(type='ToyImages', pipeline=[*beside, VIEWS, PACK])
    preprocessor = dict(type='viewplug.ViewsDataPreprocessor', mean=MEAN, std=STD, to_rgb=True)
    loader = dict(batch_size=2, dataset=dataset)
    return Config(dict(model=dict(type='viewplug.Siamese'), train_dataloader=loader, data_preprocessor=preprocessor))


def test_the_switch_moves_queries_and_masks_with_the_views():
    cfg = device_config()
    to_device_views(cfg)
    assert [step.type for step in cfg.train_dataloader.dataset.pipeline] == ['viewplug.PackViews']
    pack = Compose([PACK])
    batch = pseudo_collate([pack(dict(img=noise(seed), sample_idx=seed)) for seed in range(5)])
    preprocessor = MODELS.build(cfg.data_preprocessor)
    assert isinstance(preprocessor, BatchViews)
    found = preprocessor(batch, training=True)
    assert found['queries'].shape == (5, 3, 3, 8, 8) and found['query_boxes'].shape == (5, 3, 4)
    assert found['masks'].shape == (5, 2, 4, 4) and found['masks'].dtype == torch.bool
    boxes = found['query_boxes']
    area = (boxes[..., 2] - boxes[..., 0]) * (boxes[..., 3] - boxes[..., 1])
    assert area.min() > 0.04 and area.max() < 0.27  # QueryCrops' default, not RandomResizedCrop's
    before = cfg.copy()
    to_device_views(cfg)
    assert cfg.to_dict() == before.to_dict()
    to_device_views(cfg, in_memory=True)
    assert cfg.train_dataloader.dataset.dataset.pipeline == []


def test_both_ways_make_the_same_patch_of_the_same_box():
    cfg = device_config(num=12, backend='pillow')
    to_device_views(cfg)
    preprocessor = MODELS.build({**cfg.data_preprocessor, 'mean': None, 'std': None, 'to_rgb': False})
    smooth = np.ascontiguousarray(np.stack(np.mgrid[:HEIGHT, :WIDTH].tolist() + [np.zeros((HEIGHT, WIDTH))], -1) * 2)
    image = smooth.astype(np.uint8)
    found = preprocessor(dict(inputs=[torch.from_numpy(image).permute(2, 0, 1)]), training=True)
    for query, box in zip(found['queries'][0], found['query_boxes'][0], strict=True):
        x0, y0, x1, y1 = np.rint(box.numpy() * [WIDTH, HEIGHT, WIDTH, HEIGHT]).astype(int)
        expected = imresize(image[y0:y1, x0:x1], (8, 8), backend='pillow').transpose(2, 0, 1)
        assert np.abs(query.numpy() - expected).max() <= 1


@pytest.mark.parametrize(
    'settings, sentence',
    [
        (dict(num=0), 'num must be a positive'),
        (dict(scale=(16, 16)), r'scale must be a whole number, got \(16, 16\)'),
        (dict(crop_ratio_range=(0.3, 0.2)), 'crop_ratio_range'),
    ],
)
def test_a_bad_setting_is_a_sentence(settings, sentence):
    with pytest.raises(ValueError, match=sentence):
        QueryCrops(**settings)


def test_a_misspelt_setting_is_a_sentence_of_the_switch_too():
    with pytest.raises(ValueError, match="QueryCrops: .*'number'"):
        to_device_views(device_config(number=3))


def test_transforms_must_leave_the_size():
    with pytest.raises(ValueError, match=r'query of \(4, 4\) px, scale=8'):
        QueryCrops(num=1, scale=8, transforms=[dict(type='mmpretrain.CenterCrop', crop_size=4)])(dict(img=noise()))


def test_whole_images_for_localisation_are_read_without_queries_and_masks():
    from viewplug.transforms import ContrastiveCrop
    from viewplug.transforms.pipelines import steps_before, transforms_in

    views = dict(VIEWS, transforms=[[dict(type='viewplug.ContrastiveCrop', scale=32)]])
    resize = dict(type='mmpretrain.ResizeEdge', scale=40)
    pipeline = Compose([resize, *BESIDE, views, PACK])
    assert [type(step).__name__ for step in steps_before(pipeline, ContrastiveCrop)] == ['ResizeEdge']
    assert [crop.scale for crop in transforms_in(pipeline, RandomResizedCrop)] == [(32, 32)]
