import hashlib
import pickle
import time
from collections import Counter

import numpy as np
import pytest
import torch
from mmengine.dataset import ClassBalancedDataset, ConcatDataset, RepeatDataset
from mmengine.registry import DATASETS
from torchvision.transforms import RandomResizedCrop

from viewplug.datasets import ShapeScenes
from viewplug.datasets.scene_parts import SHAPES, TEXTURES, scene_classes
from viewplug.datasets.scene_renderer import SceneRenderer

CROWDED = dict(objects_per_image=(2, 5), object_scale=(0.15, 0.3), num_classes=96)


def same(a, b):
    """Whether two scenes agree in every array."""
    return all(np.array_equal(getattr(a, name), getattr(b, name)) for name in ('image', 'labels', 'boxes', 'masks'))


@pytest.mark.parametrize(
    'options, digest',
    [
        ({}, 'ddb5b8f43e6568e836ffed5eae1e98ab2b43ad6eac794c6949e5fd590831b451'),
        (CROWDED, '0937ce0fcebf0388a05c63bc2093e0982705ffd5c19e8820ff7743a71a1eabef'),
        (
            dict(seed=7, split='val', upright=True, image_size=128),
            'eb771cbb560556beef89cc3a107e39c3f57957ee23561d5c9a1d30c17d23080c',
        ),
    ],
)
def test_scenes_are_the_same_bits_on_every_platform(options, digest):
    renderer, sha = SceneRenderer(**options), hashlib.sha256()
    for index in (0, 1, 2, 99, 123_456):
        scene = renderer.render(index)
        for array in (scene.image, scene.labels.astype('<i8'), scene.boxes.astype('<f4'), scene.masks):
            sha.update(array.tobytes())
    assert sha.hexdigest() == digest


def test_a_scene_depends_neither_on_the_instance_nor_on_order_nor_on_num_images():
    short, long = ShapeScenes(num_images=5), ShapeScenes(num_images=50)
    backwards = {index: long.render(index) for index in reversed(range(5))}
    for index in range(5):
        assert same(short.render(index), backwards[index])
        assert short[index]['gt_label'] == long[index]['gt_label']


def test_other_seeds_and_splits_give_other_scenes_of_the_same_classes():
    train, val, other = ShapeScenes(num_images=1), ShapeScenes(num_images=1, split='val'), SceneRenderer(seed=1)
    assert train.metainfo['classes'] == val.metainfo['classes'] == other.classes
    images = [r.render(i).image.tobytes() for r in (train, val, other) for i in range(20)]
    assert len(set(images)) == 60


def test_boxes_enclose_masks_tightly_and_masks_are_disjoint():
    renderer = SceneRenderer(**CROWDED)
    for index in range(60):
        scene = renderer.render(index)
        assert scene.masks.sum(0).max() == 1
        for mask, (x0, y0, x1, y1) in zip(scene.masks, scene.boxes.astype(int), strict=True):
            rows, columns = np.nonzero(mask)
            assert (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1) == (x0, y0, x1, y1)


def test_pixels_outside_the_objects_are_background_alone():
    renderer = SceneRenderer(num_classes=2)
    moved = SceneRenderer(num_classes=2, object_scale=(0.1, 0.12))
    for index in range(10):
        a, b = renderer.render(index), moved.render(index)
        changed = (a.image != b.image).any(-1)
        near = np.zeros_like(changed)
        for x0, y0, x1, y1 in np.concatenate([a.boxes, b.boxes]).astype(int):
            near[max(y0 - 2, 0) : y1 + 2, max(x0 - 2, 0) : x1 + 2] = True
        assert changed.any() and not (changed & ~near).any()


def test_classes_are_balanced_in_every_run_of_num_classes_images_and_in_strides():
    labels = [info['gt_label'] for info in map(ShapeScenes(num_images=144).get_data_info, range(144))]
    for start in range(0, 144, 12):
        assert sorted(labels[start : start + 12]) == list(range(12))
    assert sorted(labels[::12]) == list(range(12))


def test_every_class_can_be_drawn_at_the_smallest_size():
    renderer = SceneRenderer(num_classes=96, image_size=60, object_scale=(0.1, 0.1))
    scenes = [renderer.render(index) for index in range(192)]
    assert {scene.label for scene in scenes} == set(range(96))
    assert min(scene.masks.sum() for scene in scenes) >= 3


@pytest.mark.parametrize('num_classes', [8, 12, 18, 27, 36, 48, 64, 80, 96])
def test_no_two_of_shape_texture_and_palette_tell_the_class_in_a_full_grid(num_classes):
    classes = scene_classes(num_classes)
    assert len(set(classes)) == num_classes
    for left_out in range(3):
        known = Counter(kind[:left_out] + kind[left_out + 1 :] for kind in classes)
        assert min(known.values()) >= 2


def test_a_longer_list_of_classes_starts_with_the_shorter_one():
    assert scene_classes(96)[:12] == scene_classes(12)


def test_textures_cover_half_of_the_plane():
    at = (np.arange(500) + 0.4) / 50  # off the edges themselves, which belong to neither half
    for texture in TEXTURES.values():
        assert (texture(at[None] - 5, at[:, None] - 5) > 0).mean() == pytest.approx(0.5, abs=0.02)


def test_shapes_fit_into_the_unit_circle():
    at = np.linspace(-1.5, 1.5, 301)
    outside = at[None] ** 2 + at[:, None] ** 2 > 1
    for shape in SHAPES.values():
        assert (shape(at[None], at[:, None])[outside] > 0).all()


def test_some_random_resized_crops_miss_the_object():
    torch.manual_seed(0)
    dataset, whole = ShapeScenes(num_images=1), torch.empty(3, 96, 96)
    missed = []
    for index in range(200):
        mask = dataset.render(index).masks[0]
        for _ in range(8):
            y, x, h, w = RandomResizedCrop.get_params(whole, (0.2, 1.0), (3 / 4, 4 / 3))
            missed.append(mask[y : y + h, x : x + w].sum() < 0.25 * mask.sum())
    assert 0.05 < np.mean(missed) < 0.4


def test_objects_keep_to_the_number_and_the_scale_asked_for():
    renderer = SceneRenderer(image_size=80, objects_per_image=(1, 3), object_scale=(0.2, 0.3))
    numbers = Counter()
    for index in range(100):
        objects = renderer.layout.plan(index).objects
        numbers[len(objects)] += 1
        assert 16 <= 2 * objects[0].radius <= 24
        assert all(6 <= 2 * thing.radius <= 24 for thing in objects)
        assert renderer.render(index).image.shape == (80, 80, 3)
    assert set(numbers) == {1, 2, 3}


def test_the_label_is_that_of_the_object_with_the_largest_mask():
    renderer = SceneRenderer(**CROWDED)
    for index in range(150):
        scene = renderer.render(index)
        assert scene.label == scene.labels[scene.masks.sum((1, 2)).argmax()] == renderer.layout.label(index)


def test_upright_objects_are_not_rotated():
    assert {SceneRenderer(upright=True).layout.plan(i).objects[0].direction for i in range(20)} == {(1.0, 0.0)}
    assert len({SceneRenderer().layout.plan(i).objects[0].direction for i in range(20)}) > 10


def test_a_sample_is_bgr_with_labels_boxes_and_masks():
    dataset = ShapeScenes(num_images=4, **CROWDED)
    sample, scene = dataset[3], dataset.render(3)
    assert np.array_equal(sample['img'], scene.image[..., ::-1]) and sample['img'].flags.c_contiguous
    assert sample['img_shape'] == sample['ori_shape'] == (96, 96)
    assert sample['gt_label'] == scene.label and sample['sample_idx'] == sample['img_id'] == 3
    assert sample['gt_bboxes'].dtype == np.float32 and sample['gt_bboxes'].shape == (len(scene.labels), 4)
    assert sample['gt_masks'].shape == (len(scene.labels), 96, 96)
    assert sample['gt_bboxes_labels'].tolist() == scene.labels.tolist()


def test_a_red_class_is_red():
    dataset = ShapeScenes(num_images=1)
    assert dataset.metainfo['classes'][0] == 'striped red disc'
    sample = dataset[0]
    blue, green, red = sample['img'][sample['gt_masks'][0] > 0].mean(0)
    assert red > 1.3 * green and red > 1.3 * blue


def test_preloaded_samples_equal_rendered_ones_and_subsets_share_them():
    plain = ShapeScenes(num_images=8, **CROWDED)
    stored = ShapeScenes(num_images=8, preload=True, **CROWDED)
    subset = stored.get_subset([5, 2])
    assert subset._store is stored._store
    clone = pickle.loads(pickle.dumps(stored))
    for a, b in [(plain[5], stored[5]), (plain[5], clone[5]), (plain[2], subset[1])]:
        assert a['img_id'] == b['img_id']
        for name in ('img', 'gt_bboxes', 'gt_bboxes_labels', 'gt_masks'):
            assert np.array_equal(a[name], b[name]) and a[name].dtype == b[name].dtype
    stored[5]['img'][:] = 0
    stored[5]['gt_bboxes'][:] = 0
    assert np.array_equal(stored[5]['img'], plain[5]['img'])
    assert np.array_equal(stored[5]['gt_bboxes'], plain[5]['gt_bboxes'])


def test_preloading_waits_for_full_init_and_renders_only_the_indices_kept():
    dataset = ShapeScenes(num_images=1000, indices=[7, 990], preload=True, lazy_init=True)
    assert dataset._store is None
    dataset.full_init()
    assert len(dataset) == 2 and dataset._store.images.shape[0] == 2
    assert dataset[1]['img_id'] == 990 and dataset[1]['sample_idx'] == 1


def test_it_is_built_by_its_type_and_runs_a_stock_pipeline():
    pipeline = [
        dict(type='mmpretrain.RandomResizedCrop', scale=64),
        dict(type='mmpretrain.RandomFlip', prob=1.0),
        dict(type='mmpretrain.PackInputs'),
    ]
    dataset = DATASETS.build(dict(type='viewplug.ShapeScenes', num_images=3, pipeline=pipeline))
    sample = dataset[2]
    assert sample['inputs'].shape == (3, 64, 64)
    assert sample['data_samples'].gt_label.item() == 2


def test_concatenated_repeated_and_class_balanced_wrappers_index_it_right():
    config = dict(type='viewplug.ShapeScenes', num_images=4, image_size=48)
    both = ConcatDataset([config, dict(config, split='val')])
    assert len(both) == 8
    assert np.array_equal(both[6]['img'], ShapeScenes(num_images=4, image_size=48, split='val')[2]['img'])
    assert np.array_equal(RepeatDataset(config, times=3)[9]['img'], both[1]['img'])
    assert len(ClassBalancedDataset(config, oversample_thr=1e-3)) == 4


def test_a_pipeline_that_drops_a_sample_gets_another():
    dropped = []

    def drop_first(results):
        dropped.append(results['sample_idx'])
        return None if len(dropped) == 1 else results

    assert ShapeScenes(num_images=3, pipeline=[drop_first])[1]['img'].shape == (96, 96, 3)
    assert len(dropped) == 2


@pytest.mark.parametrize(
    'options, message',
    [
        (dict(num_images=0), 'num_images must be a whole number of at least 1, got 0'),
        (dict(num_images=1.5), 'num_images must be .* got 1.5'),
        (dict(image_size=8), 'image_size must be .* got 8'),
        (dict(num_classes=97), 'num_classes must lie between 2 and 96 .* got 97'),
        (dict(num_classes=1), 'num_classes must be .* got 1'),
        (dict(objects_per_image=0), 'objects_per_image must be .* got 0'),
        (dict(objects_per_image=(3, 2)), r'objects_per_image must not .* got \(3, 2\)'),
        (dict(objects_per_image='two'), "objects_per_image must be .* got 'two'"),
        (dict(objects_per_image=9), 'objects_per_image=9 of object_scale=.* leave no room'),
        (dict(object_scale=(0.0, 0.5)), r'object_scale must be .* got \(0.0, 0.5\)'),
        (dict(object_scale=(0.5, 1.2)), r'object_scale must be .* got \(0.5, 1.2\)'),
        (dict(object_scale=0.3), 'object_scale must be a pair.* got 0.3'),
        (dict(object_scale=(0.01, 0.5)), 'object_scale=.* 1.0 px at image_size=96'),
        (dict(seed=-1), 'seed must be .* got -1'),
        (dict(seed=2**32), r'seed must be smaller than 2\*\*32, got 4294967296'),
        (dict(split='test'), "split must be 'train' or 'val', got 'test'"),
    ],
)
def test_a_wrong_argument_is_named_with_its_value(options, message):
    with pytest.raises(ValueError, match=message):
        ShapeScenes(**options)


def test_a_negative_scene_index_is_refused():
    with pytest.raises(ValueError, match='index must be .* got -1'):
        SceneRenderer().render(-1)


def test_rendering_does_not_hold_up_training():
    renderer = SceneRenderer()
    start = time.process_time()
    for index in range(50):
        renderer.render(index)
    assert 50 / (time.process_time() - start) > 100


def test_fewer_backgrounds_are_the_first_of_the_twelve():
    few, all_of_them = SceneRenderer(num_backgrounds=2), SceneRenderer()
    assert {few.layout.plan(i).background for i in range(100)} == {0, 1}
    assert {all_of_them.layout.plan(i).background for i in range(400)} == set(range(12))
    with pytest.raises(ValueError, match='num_backgrounds must be at most 12, got 13'):
        SceneRenderer(num_backgrounds=13)
