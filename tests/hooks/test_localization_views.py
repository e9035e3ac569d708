"""source='views': heat maps of whole images out of those of the views."""

import numpy as np
import pytest
import torch
from mmengine.dataset import ConcatDataset
from mmengine.hooks import Hook
from processes import in_processes
from torch import nn
from toy_localization import Brightness, Diary, Spots, boxes_of, model, pipeline, run, spot_box

from viewplug.box_store import BoxStore
from viewplug.hooks.view_catcher import ViewCatcher
from viewplug.hooks.view_heatmaps import ViewHeatmaps, paste
from viewplug.registry import MODELS

VIEWS = dict(start=3, interval=9, threshold=0.5, source='views', grid=12)


def slow_value(heatmap, box, flip, x, y):
    """The map of a view at the point (x, y) of the image, bilinear between cell centres; None outside the view."""
    x0, y0, x1, y1 = box
    u, v = (x - x0) / (x1 - x0), (y - y0) / (y1 - y0)
    if not (0 <= u < 1 and 0 <= v < 1):
        return None
    u = 1 - u if flip else u
    h, w = heatmap.shape
    column, row = min(max(u * w - 0.5, 0), w - 1), min(max(v * h - 0.5, 0), h - 1)
    left, top = int(column), int(row)
    right, bottom = min(left + 1, w - 1), min(top + 1, h - 1)
    a, b = column - left, row - top
    upper = (1 - a) * heatmap[top, left] + a * heatmap[top, right]
    return (1 - b) * upper + b * ((1 - a) * heatmap[bottom, left] + a * heatmap[bottom, right])


def random_views(number, h=3, w=4):
    corners = torch.rand(number, 2, 2).sort(dim=1).values
    corners[:, 1] = (corners[:, 1] + 0.2).clamp(max=1)
    return torch.rand(number, h, w), corners.flatten(1), torch.rand(number) < 0.5


def test_a_view_is_pasted_where_it_was_cut_flips_undone():
    heatmaps, boxes, flips = random_views(10)
    assert 0 < flips.sum() < 10
    values, inside = paste(heatmaps, boxes, flips, 7)
    for n in range(10):
        for row in range(7):
            for column in range(7):
                centre = (column + 0.5) / 7, (row + 0.5) / 7
                expected = slow_value(heatmaps[n].numpy(), boxes[n].tolist(), flips[n], *centre)
                assert inside[n, row, column] == (expected is not None)
                assert expected is None or values[n, row, column] == pytest.approx(expected, abs=1e-5)


def slow_filled(cells, grid):
    """Cells without a value take the mean of their neighbours that have one, ring after ring."""
    while len(cells) < grid * grid:
        ring = {}
        for row in range(grid):
            for column in range(grid):
                around = [(row + a, column + b) for a in (-1, 0, 1) for b in (-1, 0, 1)]
                values = [cells[cell] for cell in around if cell in cells]
                if (row, column) not in cells and values:
                    ring[row, column] = np.mean(values)
        cells = {**cells, **ring}
    return cells


def test_maps_are_averaged_over_the_views_that_show_a_cell():
    # Image 0 comes twice in a batch, image 3 once and not whole.
    batches = [(torch.tensor([0, 2, 0, 2 + (k == 0)]), *random_views(4)) for k in range(5)]
    maps = ViewHeatmaps(5, grid=6)
    found = {}
    for indices, heatmaps, boxes, flips in batches:
        maps.add(indices, heatmaps, boxes, flips)
        for n, index in enumerate(indices.tolist()):
            for row in range(6):
                for column in range(6):
                    heatmap = heatmaps[n].numpy() / heatmaps.mean().item()
                    value = slow_value(heatmap, boxes[n].tolist(), flips[n], (column + 0.5) / 6, (row + 0.5) / 6)
                    if value is not None:
                        found.setdefault((index, row, column), []).append(value)
    means, seen = maps.means()
    assert seen.tolist() == [True, False, True, True, False]
    for index in (0, 2, 3):
        expected = {cell[1:]: np.mean(values) for cell, values in found.items() if cell[0] == index}
        assert len(expected) < 36 or index != 3
        expected = slow_filled(expected, 6)
        for cell, value in expected.items():
            assert means[index][cell] == pytest.approx(value, abs=1e-5)
    maps.reset()
    assert not maps.means()[1].any()


def test_a_map_that_is_not_finite_is_left_out_and_spoils_no_other():
    heatmaps, boxes, flips = random_views(3)
    clean, spoilt = ViewHeatmaps(3, 5), ViewHeatmaps(3, 5)
    clean.add(torch.tensor([0, 2]), heatmaps[[0, 2]], boxes[[0, 2]], flips[[0, 2]])
    heatmaps[1, 0, 0] = float('nan')
    spoilt.add(torch.arange(3), heatmaps, boxes, flips)
    assert torch.allclose(spoilt.means()[0], clean.means()[0], atol=1e-6)
    assert spoilt.means()[1].tolist() == [True, False, True]


def merged_maps():
    torch.manual_seed(torch.distributed.get_rank())
    heatmaps, boxes, flips = random_views(2)
    maps = ViewHeatmaps(3, 4)
    maps.add(torch.tensor([torch.distributed.get_rank(), 2]), heatmaps, boxes, flips)
    before = maps.total.clone(), maps.weight.clone()
    maps.merge()
    return before, maps.total, maps.weight


def test_processes_add_up_what_each_has_seen(tmp_path):
    (first, total, weight), (second, other_total, _) = in_processes(merged_maps, tmp_path)
    assert torch.allclose(total, first[0] + second[0]) and torch.equal(weight, first[1] + second[1])
    assert torch.equal(total, other_total) and weight.max() >= 1


class Net(nn.Module):
    """Lets the backbone see the views as ``way`` says."""

    def __init__(self, way):
        super().__init__()
        self.data_preprocessor = Halve()
        self.backbone = Brightness()
        self.way = way

    def forward(self, views):
        views = self.data_preprocessor(dict(inputs=views))['inputs']
        if self.way == 'one by one':
            for view in reversed(views):
                self.backbone(view)
        elif self.way == 'interleaved':
            self.backbone(torch.stack(views, dim=1).flatten(0, 1))
        elif self.way == 'joined':
            self.backbone(torch.cat(views))
        else:
            self.backbone(views[0].flip(0))


class Halve(nn.Module):
    def forward(self, data):
        return dict(inputs=[view / 2 for view in data['inputs']])


@pytest.mark.parametrize('way', ['one by one', 'interleaved', 'joined', 'shuffled'])
def test_the_map_of_each_view_is_told_apart_however_the_model_feeds_them(way):
    net = Net(way)
    catcher = ViewCatcher(net, net.backbone)
    views = list(torch.rand(3, 4, 3, 16, 16))
    for _ in range(2):
        catcher.listens = True
        net(views)
        found = catcher.take()
        assert set(found) == (set() if way == 'shuffled' else {0, 1, 2})
        for number, heatmap in found.items():
            assert torch.allclose(heatmap, net.backbone(views[number] / 2)[0].sum(dim=1), atol=1e-4)
        views = views[::-1]
    net(views)
    assert catcher.take() == {}
    catcher.remove()
    assert not net.backbone._forward_hooks and not net.data_preprocessor._forward_hooks


def test_boxes_come_from_the_training_views_without_a_forward_more(tmp_path):
    dataset = Spots(pipeline=pipeline(flip=0.5, crop_ratio_range=(0.1, 0.3), scale=32))
    runner = run(tmp_path, [dict(VIEWS, start=20)], dataset, epochs=21)
    boxes = boxes_of(dataset)
    expected = np.array([spot_box(place) for place in range(8)])
    # Within cells of the grid; a border cell that no crop has shown is a guess.
    assert np.abs(boxes - expected).max() <= 2.5 / 12 and np.abs(boxes - expected).mean() <= 0.5 / 12
    assert runner.model.backbone.calls == 1 + 21 * 2  # the check before training, and the steps themselves


def test_an_image_that_no_view_has_shown_keeps_its_box(tmp_path):
    class Skip(Spots):
        """Views of image 3 pretend to be of image 4."""

        def prepare_data(self, idx):
            return super().prepare_data(4 if idx == 3 and len(self.pipeline.transforms) > 1 else idx)

    class Boxes(Hook):
        def before_train_iter(self, runner, batch_idx, data_batch=None):
            if runner.epoch < 3:
                BoxStore(path).write(np.tile([0.25, 0.0, 0.75, 1.0], (8, 1)))

    path = str(tmp_path / 'boxes.npy')
    dataset = Skip(pipeline=pipeline(store=path, crop_ratio_range=(0.3, 1.0)))
    run(tmp_path, [dict(VIEWS, start=3, threshold=0.3), Boxes()], dataset, epochs=4)
    boxes = boxes_of(dataset)
    kept = [index for index in range(8) if boxes[index].tolist() == [0.25, 0, 0.75, 1]]
    assert kept == [3]


def test_the_target_of_a_momentum_model_can_be_watched_too(tmp_path):
    dataset = Spots(pipeline=pipeline(crop_ratio_range=(0.1, 0.3), scale=32))
    run(tmp_path, [dict(VIEWS, start=20, encoder='target')], dataset, epochs=21)
    assert np.abs(boxes_of(dataset) - [spot_box(place) for place in range(8)]).max() <= 2.5 / 12


def test_what_was_seen_before_the_last_interval_does_not_count(tmp_path):
    runner = run(tmp_path, [dict(VIEWS, start=4, interval=2, num_drawn=2)], epochs=4)
    hook = next(hook for hook in runner.hooks if type(hook).__name__ == 'LocalizationHook')
    assert hook._source.maps.weight.amax() <= 2  # epochs 2 and 3, one online view each
    assert not list(tmp_path.glob('vis_boxes/*'))


def test_stock_multi_view_is_refused_with_the_way_out(tmp_path):
    with pytest.raises(ValueError, match="source='views'.*type='viewplug.MultiView'.*meta_keys.*source='forward'"):
        # Said at the first step, long before the first boxes.
        run(tmp_path, [dict(VIEWS, start=20)], Spots(pipeline=pipeline('mmpretrain.MultiView')))


def test_several_data_sets_are_refused(tmp_path):
    both = ConcatDataset([Spots(pipeline=pipeline()), Spots(pipeline=pipeline())])
    with pytest.raises(ValueError, match="source='views' tells images by their sample_idx"):
        run(tmp_path, [VIEWS], both)


def test_a_model_that_shuffles_its_views_is_refused(tmp_path):
    net = MODELS.build(model())
    encode = net.encode_groups

    def turned(groups):
        found = encode([(images.flip(0), asked) for images, asked in groups])
        return [[{name: rows.flip(0) for name, rows in one.items()} for one in views] for views in found]

    net.encode_groups = turned
    with pytest.raises(ValueError, match='online backbone took in no view of the batch'):
        run(tmp_path, [dict(VIEWS, start=0)], net=net)


def test_the_diary_of_a_views_run_shows_boxes_only_after_the_first_update(tmp_path):
    diary = Diary()
    run(tmp_path, [dict(VIEWS, start=2, interval=1), diary], epochs=4)
    assert diary.stores[1] is None and diary.stores[2] is not None
    assert not np.array_equal(diary.stores[2], diary.stores[3])
