"""Boxes for views that are cut in batch."""

import numpy as np
import pytest
import torch
from mmengine.dataset import RepeatDataset
from toy_localization import SIZE, Diary, Spots, model, run, spot_box

from viewplug.datasets import InMemoryDataset

CUT = [
    dict(type='viewplug.ContrastiveCrop', scale=SIZE, crop_ratio_range=(0.2, 0.5), alpha=1.0),
    dict(type='RandomFlip', prob=0.5),
]
PREPROCESSOR = dict(
    type='viewplug.BatchViews', transforms=[CUT], num_views=2, mean=[127.5] * 3, std=[127.5] * 3, non_blocking=False
)


def device_run(work_dir, hook, dataset=None, **changes):
    net = {**model(), 'data_preprocessor': PREPROCESSOR}
    dataset = dataset or InMemoryDataset(Spots(pipeline=[]))
    return run(work_dir, [hook, Diary()], dataset, net=net, collate='viewplug.take_batch', **changes)


def stored(runner) -> np.ndarray:
    return runner.model.data_preprocessor.views[0].crop.box_store.read_all()


def iou(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    sides = (np.minimum(a[:, 2:], b[:, 2:]) - np.maximum(a[:, :2], b[:, :2])).clip(0)
    areas = [(box[:, 2:] - box[:, :2]).prod(axis=1) for box in (a, b)]
    return sides.prod(axis=1) / (areas[0] + areas[1] - sides.prod(axis=1))


def test_the_forward_gives_each_image_the_box_that_per_sample_views_get(tmp_path):
    hook = dict(start=1, interval=1, threshold=0.5)
    found = stored(device_run(tmp_path / 'device', hook))
    assert (iou(found, np.array([spot_box(i) for i in range(8)])) > 0.5).all()
    sample = run(tmp_path / 'sample', [hook])
    leaf = sample.train_dataloader.dataset
    assert np.array_equal(found, leaf.pipeline.transforms[0].pipelines[0].transforms[0].box_store.read_all())


def test_the_views_give_boxes_too(tmp_path):
    hook = dict(start=12, interval=12, threshold=0.5, source='views')
    found = stored(device_run(tmp_path, hook, epochs=13))
    overlap = iou(found, np.array([spot_box(i) for i in range(8)]))
    strangers = iou(found, np.array([spot_box(i + 1) for i in range(8)]))
    assert overlap.mean() > 0.3 and (overlap > strangers).all()


def test_views_that_are_turned_give_none(tmp_path):
    turned = [*CUT, dict(type='Rotate', angle=20.0)]
    net = {**model(), 'data_preprocessor': {**PREPROCESSOR, 'transforms': [turned]}}
    hook = dict(start=1, interval=1, source='views')
    with pytest.raises(ValueError, match=r'transforms\[0\] of viewplug.BatchViews has Rotate, which may move pixels'):
        run(tmp_path, [hook], InMemoryDataset(Spots(pipeline=[])), net=net, collate='viewplug.take_batch')


def test_the_views_give_boxes_when_loader_workers_read_the_images(tmp_path):
    dataset = Spots(pipeline=[dict(type='mmpretrain.PackInputs', meta_keys=('sample_idx',))])
    hook = dict(start=12, interval=12, threshold=0.5, source='views')
    net = {**model(), 'data_preprocessor': PREPROCESSOR}
    runner = run(tmp_path, [hook], dataset, net=net, collate='pseudo_collate', epochs=13)
    assert (iou(stored(runner), np.array([spot_box(i) for i in range(8)])).mean()) > 0.3


def test_boxes_travel_in_the_checkpoint(tmp_path):
    runner = device_run(tmp_path, dict(start=1, interval=1, threshold=0.5))
    saved = torch.load(tmp_path / 'epoch_3.pth', weights_only=False)['localization']
    assert saved['lengths'] == [8] and np.array_equal(saved['boxes'].numpy(), stored(runner))


def test_wrapped_data_sets_are_refused_since_their_indices_are_not_the_images(tmp_path):
    wrapped = InMemoryDataset(RepeatDataset(Spots(pipeline=[]), 2))
    with pytest.raises(ValueError, match="without wrappers.*views='sample'"):
        device_run(tmp_path, dict(start=1, interval=1), wrapped)
