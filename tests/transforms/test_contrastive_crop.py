"""ContrastiveCrop in OpenMMLab pipelines."""

import pickle

import numpy as np
import pytest
from mmcv import imresize
from mmcv.transforms.utils import cache_random_params
from mmengine.dataset import Compose, default_collate
from mmpretrain.datasets.transforms import MultiView as StockMultiView
from mmpretrain.datasets.transforms import RandomResizedCrop as StockCrop
from mmpretrain.registry import TRANSFORMS as MMPRETRAIN_TRANSFORMS
from scipy import stats
from torch.utils.data import DataLoader
from toys import ToyImages

from viewplug.box_store import BoxStore
from viewplug.crop_sampling import WHOLE_IMAGE, sample_crop
from viewplug.hooks.epoch_seed import seed_process
from viewplug.transforms import META_KEYS, ContrastiveCrop, MultiView

HEIGHT, WIDTH = 60, 90
BOX = (0.5, 0.1, 0.75, 0.3)
SMALL = dict(scale=8, crop_ratio_range=(0.02, 0.04))


def coordinate_image(height: int = HEIGHT, width: int = WIDTH) -> np.ndarray:
    """Each pixel holds its row and column."""
    rows, columns = np.mgrid[:height, :width]
    return np.stack([rows, columns, np.zeros_like(rows)], axis=-1).astype(np.uint8)


def noise() -> np.ndarray:
    return np.random.RandomState(0).randint(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)


def centers(crop_boxes) -> np.ndarray:
    boxes = np.asarray(crop_boxes)
    return (boxes[..., :2] + boxes[..., 2:]) / 2


def inside(crop_boxes, box) -> np.ndarray:
    found = centers(crop_boxes)
    return ((found >= np.float32(box[:2]) - 1e-5) & (found <= np.float32(box[2:]) + 1e-5)).all(axis=-1)


def crop_boxes(crop, number: int = 40, **results) -> np.ndarray:
    return np.stack([crop(dict(img=coordinate_image(), **results))['crop_box'] for _ in range(number)])


@pytest.fixture
def written(tmp_path) -> BoxStore:
    """Box 0 is the top left quarter, box 1 is BOX, box 2 NaN."""
    store = BoxStore(tmp_path / 'boxes.npy')
    store.write([[0, 0, 0.5, 0.5], BOX, [np.nan] * 4])
    return store


@pytest.mark.parametrize('backend', ['cv2', 'pillow'])
@pytest.mark.parametrize('ratio', [(0.2, 1.0), (1.0, 1.0)], ids=['usual', 'central fallback'])
@pytest.mark.parametrize('center', [dict(alpha=0.1), dict(alpha=1), dict(center='quadratic')])
@pytest.mark.parametrize('sample', [dict(sample_idx=3), dict(box=None), dict()], ids=['early', 'box None', 'no index'])
def test_without_boxes_it_is_the_stock_crop_bit_for_bit(backend, ratio, center, sample):
    """ContrastiveCrop, sec. 3.2: RandomCrop is applied at the early stage; sec. 4.2: it starts from the 20th epoch."""
    settings = dict(scale=(24, 20), crop_ratio_range=ratio, backend=backend)
    ours, stock = ContrastiveCrop(**settings, **center), StockCrop(**settings)
    for seed in range(20):
        np.random.seed(seed)
        expected = stock(dict(img=noise(), **sample))
        after_stock = np.random.rand()
        np.random.seed(seed)
        found = ours(dict(img=noise(), **sample))
        assert np.array_equal(found['img'], expected['img']) and found['img_shape'] == expected['img_shape']
        assert np.random.rand() == after_stock


def test_the_crop_is_the_sampled_one_and_its_box_names_the_very_pixels():
    crop = ContrastiveCrop((20, 30), (0.1, 0.5), (0.5, 2), alpha=0.3)
    for seed in range(50):
        np.random.seed(seed)
        found = crop(dict(img=coordinate_image(), box=BOX))
        np.random.seed(seed)
        top, left, height, width = sample_crop(HEIGHT, WIDTH, BOX, (0.1, 0.5), (0.5, 2), alpha=0.3)
        corners = np.divide([left, top, left + width, top + height], [WIDTH, HEIGHT, WIDTH, HEIGHT])
        assert found['crop_box'].dtype == np.float32 and np.allclose(found['crop_box'], corners)
        pixels = coordinate_image()[top : top + height, left : left + width]
        assert np.array_equal(found['img'], imresize(pixels, (30, 20)))


def test_a_box_in_the_results_comes_before_the_store_and_the_store_before_the_whole_image(written):
    crop = ContrastiveCrop(**SMALL, store=written)
    assert inside(crop_boxes(crop, sample_idx=1, box=(0, 0.6, 0.2, 1)), (0, 0.6, 0.2, 1)).all()
    assert inside(crop_boxes(crop, sample_idx=0), (0, 0, 0.5, 0.5)).all()
    assert inside(crop_boxes(crop, sample_idx=1), BOX).all()
    whole = [
        crop_boxes(crop, 100, sample_idx=1, box=None),
        crop_boxes(crop, 100, sample_idx=2),
        crop_boxes(ContrastiveCrop(**SMALL), 100, sample_idx=1),
        crop_boxes(ContrastiveCrop(**SMALL), 100),
    ]
    for boxes in whole:
        assert centers(boxes).min() < 0.2 and centers(boxes).max() > 0.8 and inside(boxes, BOX).mean() < 0.3


def test_suppression_without_localisation_ignores_every_box(written):
    for results in (dict(sample_idx=1), dict(box=BOX), dict()):
        np.random.seed(1)
        found = crop_boxes(ContrastiveCrop(**SMALL, alpha=0.2, localize=False, store=written), **results)
        np.random.seed(1)
        assert np.array_equal(found, crop_boxes(ContrastiveCrop(**SMALL, alpha=0.2), box=WHOLE_IMAGE))


SPREADS = {
    **{
        f'alpha {a}': (dict(alpha=a), np.abs(stats.beta.rvs(a, a, size=100_000, random_state=0) - 0.5).mean())
        for a in (0.1, 1, 20)
    },
    'quadratic': (dict(center='quadratic'), 3 / 8),
}


@pytest.mark.parametrize('settings,spread', SPREADS.values(), ids=SPREADS)
def test_every_centre_distribution_reaches_the_crops(settings, spread):
    boxes = crop_boxes(ContrastiveCrop(**SMALL, **settings), 500, box=WHOLE_IMAGE)
    room = 1 - (boxes[:, 2:] - boxes[:, :2]).mean()
    assert np.abs(centers(boxes) - 0.5).mean() == pytest.approx(spread * room, abs=0.02)


@pytest.mark.parametrize('multi_view', [StockMultiView, MultiView])
def test_each_view_draws_its_own_crop_from_the_same_box(multi_view, written):
    run = Compose([multi_view([[ContrastiveCrop(**SMALL, store=written)]], 2)])
    middles = []
    for _ in range(300):
        views = run(dict(img=coordinate_image(), sample_idx=1))['img']
        # The mean of a crop of the coordinate image is its centre.
        middles.append([view[..., :2].mean(axis=(0, 1)) + 0.5 for view in views])
    middles = np.asarray(middles)  # (300, views, [y, x])
    x0, y0, x1, y1 = BOX
    assert (middles >= np.array([y0 * HEIGHT, x0 * WIDTH]) - 1).all()
    assert (middles <= np.array([y1 * HEIGHT, x1 * WIDTH]) + 1).all()
    for axis in range(2):
        assert abs(np.corrcoef(middles[:, :, axis].T)[0, 1]) < 0.2
        assert np.ptp(middles[:, :, axis], axis=0).min() > 0.8 * (x1 - x0, y1 - y0)[1 - axis] * (HEIGHT, WIDTH)[axis]


def test_the_geometry_of_the_views_reaches_the_samples(written):
    views = [
        [ContrastiveCrop(**SMALL, store=written), dict(type='mmpretrain.RandomFlip', prob=0.5)],
        [dict(type='viewplug.ContrastiveCrop', scale=16, localize=False)],
    ]
    pack = dict(type='mmpretrain.PackInputs', meta_keys=META_KEYS)
    run = Compose([MultiView(views, [1, 1]), pack])
    found = default_collate([run(dict(img=noise(), sample_idx=1)) for _ in range(4)])
    assert [tuple(view.shape) for view in found['inputs']] == [(4, 3, 8, 8), (4, 3, 16, 16)]
    assert all(inside(sample.crop_box[0], BOX) and sample.crop_box.shape == (2, 4) for sample in found['data_samples'])


@pytest.mark.parametrize('shape', [(1, 1), (1, 300), (300, 1), (2, 3), (7, 200)])
@pytest.mark.parametrize('box', [None, BOX, (0, 0, 0, 0), (0.9, 0.9, 0.1, 0.1), (-5, 2, 7, 9), (np.nan, 0, 1, 1)])
@pytest.mark.parametrize('backend', ['cv2', 'pillow'])
def test_the_smallest_images_and_broken_boxes_give_a_view(shape, box, backend):
    for _ in range(5):
        found = ContrastiveCrop(8, backend=backend)(dict(img=coordinate_image(*shape), box=box))
        x0, y0, x1, y1 = found['crop_box']
        assert found['img'].shape == (8, 8, 3) and 0 <= x0 < x1 <= 1 and 0 <= y0 < y1 <= 1


def test_an_image_beyond_the_last_box_is_an_error(written):
    with pytest.raises(ValueError, match='image 3 .* holds 3 boxes.*more images than boxes'):
        ContrastiveCrop(8, store=written)(dict(img=noise(), sample_idx=3))


def test_boxes_without_an_index_to_find_them_by_are_an_error(written):
    with pytest.raises(ValueError, match="boxes for 3 images, but the results have no 'sample_idx'"):
        ContrastiveCrop(8, store=written)(dict(img=noise()))


@pytest.mark.parametrize(
    'settings,message',
    [
        (dict(alpha=0), 'alpha must be .* got 0'),
        (dict(center='middle'), "center must be .* got 'middle'"),
        (dict(crop_ratio_range=(1, 0.2)), r'crop_ratio_range must be .* got \(1, 0.2\)'),
        (dict(aspect_ratio_range=(-1, 1)), r'aspect_ratio_range must be .* got \(-1, 1\)'),
    ],
)
def test_a_wrong_argument_is_named(settings, message):
    with pytest.raises(ValueError, match=message):
        ContrastiveCrop(8, **settings)


def test_it_is_built_from_a_config_of_mmpretrain(written):
    config = dict(
        type='viewplug.ContrastiveCrop',
        scale=224,
        crop_ratio_range=(0.2, 1.0),
        backend='pillow',
        alpha=0.1,
        store=written.path,
    )
    crop = MMPRETRAIN_TRANSFORMS.build(config)
    assert len(crop.box_store) == 3 and f"alpha=0.1, localize=True, center='beta', box_store={written!r})" in repr(crop)


def test_every_transform_has_a_store_of_its_own_unless_they_share_one(written):
    assert ContrastiveCrop(8).box_store.path != ContrastiveCrop(8).box_store.path
    assert ContrastiveCrop(8, store=written).box_store is written


@pytest.mark.parametrize('center', ['beta', 'uniform', 'quadratic'])
def test_it_travels_to_worker_processes_and_still_reads_the_same_boxes(center):
    crop = ContrastiveCrop(**SMALL, center=center)
    other = pickle.loads(pickle.dumps(crop))
    crop.box_store.write([BOX])
    assert inside(crop_boxes(other, sample_idx=0), BOX).all()


def test_the_seed_of_the_epoch_decides_the_crops(written):
    crop = ContrastiveCrop(**SMALL, store=written)
    found = {}
    for epoch in (0, 1, 0):
        seed_process(7, epoch, 0)
        boxes = crop_boxes(crop, sample_idx=1)
        assert np.array_equal(found.setdefault(epoch, boxes), boxes)
    assert not np.array_equal(found[0], found[1])


def test_images_that_share_their_random_numbers_share_the_crop():
    crop = ContrastiveCrop(8)
    with cache_random_params(crop):
        first, second = (crop(dict(img=coordinate_image())) for _ in range(2))
    assert np.array_equal(first['img'], second['img']) and np.array_equal(first['crop_box'], second['crop_box'])
    assert len({tuple(box) for box in crop_boxes(crop)}) > 30


def crop_box_only(results: dict) -> np.ndarray:
    return results['crop_box']


@pytest.mark.parametrize('start_method,num_workers', [('fork', 2), ('spawn', 1)])
def test_running_workers_crop_by_each_update(start_method, num_workers):
    crop = ContrastiveCrop(**SMALL, alpha=1)
    views = dict(type='viewplug.MultiView', num_views=2, transforms=[[crop]])
    loader = DataLoader(
        ToyImages(pipeline=[views, crop_box_only]),
        batch_size=4,
        num_workers=num_workers,
        persistent_workers=True,
        multiprocessing_context=start_method,
    )
    boxes = np.tile(np.float32([[0.1, 0.5, 0.3, 0.9], BOX]), (8, 1))
    for update in (None, boxes, boxes[::-1]):
        if update is not None:
            crop.box_store.write(update)
        cut = np.concatenate([batch.numpy() for batch in loader])
        assert cut.shape == (16, 2, 4)
        hits = [inside(cut[index], boxes[index]).mean() for index in range(16)]
        if update is None:
            assert np.mean(hits) < 0.5
        else:
            assert all(inside(cut[index], update[index]).all() for index in range(16))
