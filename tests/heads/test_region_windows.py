"""Windows of one view land on the same pixels of the other: views whose pixels say where they come from."""

import itertools

import numpy as np
import pytest
import torch
from mmengine.dataset import Compose
from mmengine.registry import DefaultScope

from viewplug.heads.region_windows import WindowGrid, boxes_of_grid, maps_of_tokens
from viewplug.necks.region import tokens_of_maps
from viewplug.views import ViewGeometry

FLIPS = list(itertools.product([False, True], repeat=2))
PAPER = [(48, 32, 16, 6), (48, 16, 16, 12), (64, 48, 16, 4), (32, 24, 8, 9)]


def random_geometry(number: int, flips=None) -> ViewGeometry:
    """Two crops of each image, as RandomResizedCrop draws them, float64."""
    size = torch.rand(number, 2, 2).double() * 0.6 + 0.4
    low = torch.rand(number, 2, 2).double() * (1 - size)
    flips = torch.rand(number, 2) < 0.5 if flips is None else torch.tensor(flips).expand(number, 2)
    return ViewGeometry(torch.cat([low, low + size], dim=2), flips)


def render(geometry: ViewGeometry, view: int, side: int) -> torch.Tensor:
    """The view of side x side pixels (N, 2, side, side): each pixel is the (x, y) in the image that its middle sees."""
    middles = (torch.arange(side).double() + 0.5) / side
    x0, y0, x1, y1 = geometry.boxes[:, view].unbind(1)
    across = torch.where(geometry.flips[:, view, None], 1 - middles, middles)
    x = x0[:, None] + across * (x1 - x0)[:, None]
    y = y0[:, None] + middles * (y1 - y0)[:, None]
    return torch.stack([x[:, None, :].expand(-1, side, -1), y[:, :, None].expand(-1, -1, side)], dim=1)


@pytest.mark.parametrize('window, stride, downsample, count', PAPER)
def test_the_papers_windows_of_two_equal_views_all_count_and_are_in_place(window, stride, downsample, count):
    geometry = ViewGeometry(torch.tensor([[[0.1, 0.2, 0.7, 0.9]] * 2]), torch.zeros(1, 2, dtype=torch.bool))
    grid = WindowGrid(window, stride, downsample, 224)
    columns, rows, valid = grid.match(geometry, 0, 1)
    assert valid.shape == (1, count, count) and valid.all()
    places = [(i * stride / 224, (i * stride + window) / 224) for i in range(count)]
    assert torch.allclose(columns[0], torch.tensor(places), atol=1e-6)
    assert torch.allclose(rows[0], torch.tensor(places), atol=1e-6)


@pytest.mark.parametrize('flips', FLIPS)
def test_the_corners_of_thousands_of_windows_are_the_same_points_of_the_image(flips):
    geometry = random_geometry(2000, flips)
    grid = WindowGrid(12, 4, 4, 32)
    columns, rows, valid = grid.match(geometry, 0, 1)
    own = grid.spans(columns).expand(len(columns), -1, -1)
    seen = []
    for view, sides in ((0, (own, own)), (1, (columns, rows))):
        corners = boxes_of_grid(*sides)
        x0, y0, x1, y1 = geometry.boxes[:, view, :, None, None].unbind(1)
        across = torch.where(geometry.flips[:, view, None, None, None], 1 - corners[..., 0::2], corners[..., 0::2])
        x = (x0[..., None] + across * (x1 - x0)[..., None]).sort(dim=-1).values
        seen.append(torch.cat([x, y0[..., None] + corners[..., 1::2] * (y1 - y0)[..., None]], dim=-1)[valid])
    assert len(seen[0]) > 5000
    assert torch.allclose(*seen, atol=1e-12)


@pytest.mark.parametrize('flips', FLIPS)
@pytest.mark.parametrize('pool', ['prroi', 'roi_align'])
def test_pooled_windows_of_both_views_hold_the_same_pixels_also_if_one_is_mirrored(flips, pool):
    geometry = random_geometry(1000, flips)
    grid = WindowGrid(12, 4, 4, 32, pool)
    columns, rows, valid = grid.match(geometry, 0, 1)
    own = grid.spans(columns).expand(len(columns), -1, -1)
    query = grid.pooled(render(geometry, 0, 8), own, own)
    key = grid.pooled(render(geometry, 1, 8), columns, rows)
    margin = 0.5 / 8  # nearer to the border interpolation runs out of the map
    inside = (boxes_of_grid(columns, rows).sub(0.5).abs() <= 0.5 - margin).all(dim=-1)
    inside &= (boxes_of_grid(own, own).sub(0.5).abs() <= 0.5 - margin).all(dim=-1)
    chosen = valid & inside
    assert chosen.sum() > 1000
    assert torch.allclose(query[chosen], key[chosen], atol=1e-9)


def test_without_alignment_mirrored_views_disagree_by_a_cell():
    geometry = ViewGeometry(torch.tensor([[[0.0, 0.0, 1.0, 1.0]] * 2]).double(), torch.tensor([[False, True]]))
    grid = WindowGrid(12, 4, 4, 32, aligned=False)
    columns, rows, _ = grid.match(geometry, 0, 1)
    own = grid.spans(columns)[None]
    query, key = grid.pooled(render(geometry, 0, 8), own, own), grid.pooled(render(geometry, 1, 8), columns, rows)
    assert torch.allclose((key - query)[0, 1:-1, 1:-1, 0].abs(), torch.full((4, 4), 1 / 8).double())


@pytest.mark.parametrize('flips', FLIPS)
def test_windows_count_exactly_where_both_views_see_all_of_them(flips):
    geometry = random_geometry(500, flips)
    grid = WindowGrid(12, 8, 4, 32)
    _, _, valid = grid.match(geometry, 0, 1)
    overlap = geometry.overlap(0, 1)
    for image, y, x in itertools.product(range(500), range(3), range(3)):
        left, top, right, bottom = geometry.boxes[image, 0].tolist()
        across = sorted(1 - u if flips[0] else u for u in (x * 8 / 32, (x * 8 + 12) / 32))
        x0, x1 = (left + u * (right - left) for u in across)
        y0, y1 = (top + v * (bottom - top) for v in (y * 8 / 32, (y * 8 + 12) / 32))
        ox0, oy0, ox1, oy1 = overlap[image].tolist()
        gap = min(x0 - ox0, y0 - oy0, ox1 - x1, oy1 - y1)
        if abs(gap) > 1e-4:
            assert bool(valid[image, y, x]) == (gap > 0)
    assert 0.05 < valid.double().mean() < 0.95


@pytest.mark.parametrize('shared_flip', [0.0, 0.5])
def test_the_transforms_own_views_hold_the_same_pixels_in_matched_windows(shared_flip):
    flip = [] if shared_flip else [dict(type='RandomFlip', prob=0.5)]
    views = [dict(type='viewplug.RandomResizedCrop', scale=64, crop_ratio_range=(0.3, 1.0)), *flip]
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        pipeline = Compose(
            [dict(type='viewplug.MultiView', num_views=2, transforms=[views], shared_flip=shared_flip)],
        )
    height, width = 90, 120
    y, x = np.mgrid[:height, :width].astype(np.float32)
    image = np.stack([(x + 0.5) / width, (y + 0.5) / height], axis=-1)
    samples = [pipeline(dict(img=image, img_shape=image.shape[:2])) for _ in range(300)]
    boxes = torch.tensor(np.stack([sample['crop_box'] for sample in samples])).double()
    geometry = ViewGeometry(boxes, torch.tensor(np.stack([sample['flip'] for sample in samples])))
    kinds = {tuple(row) for row in geometry.flips.tolist()}
    assert kinds == ({(False, False), (True, True)} if shared_flip else set(FLIPS))
    query, key = (
        torch.tensor(np.stack([sample['img'][view] for sample in samples])).permute(0, 3, 1, 2).double()
        for view in (0, 1)
    )
    grid = WindowGrid(16, 8, 1, 64)
    columns, rows, valid = grid.match(geometry, 0, 1)
    own = grid.spans(columns).expand(len(columns), -1, -1)
    # The resize runs out of pixels near the borders of a view.
    inner = [((side - 0.5).abs() <= 0.5 - 2 / 64).all(dim=-1) for side in (own, columns, rows)]
    valid &= inner[0].unsqueeze(2) & inner[0].unsqueeze(1) & inner[1].unsqueeze(1) & inner[2].unsqueeze(2)
    difference = (grid.pooled(query, own, own) - grid.pooled(key, columns, rows))[valid]
    assert len(difference) > 1000
    assert difference.abs().max() < 1e-3  # of the image: an eighth of a pixel


def test_views_that_do_not_meet_or_have_no_extent_give_empty_windows_and_finite_vectors():
    boxes = torch.tensor([[[0.0, 0.0, 0.4, 0.4], [0.6, 0.6, 1.0, 1.0]], [[0.2, 0.2, 0.8, 0.8], [0.5, 0.5, 0.5, 0.5]]])
    geometry = ViewGeometry(boxes, torch.tensor([[False, True], [True, False]]))
    grid = WindowGrid(12, 4, 4, 32)
    columns, rows, valid = grid.match(geometry, 0, 1)
    assert not valid.any()
    assert torch.equal(grid.pooled(torch.randn(2, 3, 8, 8), columns, rows), torch.zeros(2, 6, 6, 3))


def test_tokens_of_several_levels_are_taken_apart_as_they_were_put_together():
    maps = [torch.randn(2, 5, 8, 8), torch.randn(2, 3, 4, 4)]
    grids = [WindowGrid(12, 4, 4, 32), WindowGrid(16, 8, 8, 32)]
    tokens = tokens_of_maps(maps)
    assert tokens.shape == (2, 64 + 16, 5)
    assert torch.equal(maps_of_tokens(tokens, grids, 0, 5), maps[0])
    assert torch.equal(maps_of_tokens(tokens, grids, 1, 3), maps[1])


def test_tokens_of_one_level_are_a_view_of_the_map():
    maps = torch.randn(2, 5, 8, 8)
    tokens = tokens_of_maps([maps])
    again = maps_of_tokens(tokens, [WindowGrid(12, 4, 4, 32)], 0)
    assert tokens.data_ptr() == maps.data_ptr() == again.data_ptr() and torch.equal(again, maps)
