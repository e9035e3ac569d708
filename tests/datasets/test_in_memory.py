"""Images read once and handed out by the batch."""

import pytest
import torch
from mmengine.dataset import ConcatDataset
from torch.utils.data import DataLoader

from viewplug.datasets import InMemoryDataset, ShapeScenes, take_batch


def scenes(number: int = 10, size: int = 32, **changes) -> ShapeScenes:
    return ShapeScenes(num_images=number, image_size=size, **changes)


def loader(dataset, batch: int, **changes) -> DataLoader:
    return DataLoader(dataset, batch, collate_fn=take_batch, **changes)


def test_batches_hold_the_inner_data_sets_pixels_and_positions():
    inner = scenes()
    for batch in loader(InMemoryDataset(inner), 4, shuffle=True):
        assert batch['inputs'].dtype == torch.uint8
        for image, index in zip(batch['inputs'], batch['sample_idx'].tolist(), strict=True):
            assert torch.equal(image, torch.from_numpy(inner[index]['img']).permute(2, 0, 1))


def test_an_epoch_visits_every_image_once():
    seen = torch.cat([batch['sample_idx'] for batch in loader(InMemoryDataset(scenes()), 3, shuffle=True)])
    assert sorted(seen.tolist()) == list(range(10))


def test_the_inner_data_set_is_read_once():
    reads = []

    class Counting(ShapeScenes):
        def prepare_data(self, idx):
            reads.append(idx)
            return super().prepare_data(idx)

    dataset = InMemoryDataset(Counting(num_images=6, image_size=24))
    for _ in range(3):
        list(loader(dataset, 2))
    assert reads == list(range(6))


def test_single_samples_and_labels_are_there_for_those_who_look():
    inner = scenes()
    dataset = InMemoryDataset(inner)
    assert dataset[3]['gt_label'] == inner[3]['gt_label'] and (dataset[3]['img'] == inner[3]['img']).all()
    assert dataset.labels.tolist() == [inner[i]['gt_label'] for i in range(10)]
    assert dataset.metainfo['classes'] == inner.metainfo['classes']


def test_a_config_builds_it():
    dataset = InMemoryDataset(dict(type='viewplug.ShapeScenes', num_images=5, image_size=24))
    assert len(dataset) == 5 and next(iter(loader(dataset, 5)))['inputs'].shape == (5, 3, 24, 24)


def test_images_of_several_sizes_are_refused_with_the_way_out():
    mixed = ConcatDataset([scenes(2), scenes(2, size=24)])
    with pytest.raises(ValueError, match=r'image 2 is \(24, 24, 3\) and the first \(32, 32, 3\).*Resize'):
        InMemoryDataset(mixed).full_init()


def test_loader_workers_are_refused():
    with pytest.raises(ValueError, match='num_workers=0'):
        next(iter(loader(InMemoryDataset(scenes()), 2, num_workers=1)))


def test_an_ordinary_data_set_with_this_collate_function_is_told_so():
    with pytest.raises(TypeError, match='default_collate'):
        next(iter(loader(scenes(), 2)))
