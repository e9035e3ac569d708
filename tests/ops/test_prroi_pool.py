"""Precise RoI Pooling: against its integral, in every direction of the gradient."""

import itertools
from importlib import import_module

import numpy as np
import pytest
import torch
from scipy import integrate
from torch._subclasses import FakeTensorMode

from viewplug.ops import PrRoIPool, prroi_pool, prroi_pool_grid
from viewplug.ops.window_sums import window_sums

MODULE = import_module('viewplug.ops.prroi_pool')  # the function has its name
WEIGHTS = import_module('viewplug.ops.bin_weights')


def interpolated(feature: np.ndarray, y: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Eq. 5 of the paper at points y (P,) and x (Q,): (P, Q); features lie at whole numbers, and 0 lies around them."""
    rows = np.maximum(0, 1 - np.abs(y[:, None] - np.arange(feature.shape[0])))
    columns = np.maximum(0, 1 - np.abs(x[:, None] - np.arange(feature.shape[1])))
    return rows @ feature @ columns.T


def nodes(start: float, end: float) -> tuple[np.ndarray, np.ndarray]:
    """Points and weights that integrate the interpolant exactly: Simpson's rule between its kinks."""
    cuts = np.unique(np.concatenate([[start, end], np.arange(np.ceil(start), np.floor(end) + 1)]).clip(start, end))
    points, weights = [], []
    for low, high in zip(cuts[:-1], cuts[1:], strict=True):
        points += [low, (low + high) / 2, high]
        weights += list(np.array([1, 4, 1]) * (high - low) / 6)
    return np.array(points), np.array(weights)


def by_quadrature(features: np.ndarray, boxes: np.ndarray, size: tuple[int, int], scale: float) -> np.ndarray:
    """(N, C, H, W), (N, K, 4) -> (N, K, C, h, w), bin after bin."""
    pooled = np.zeros((*boxes.shape[:2], features.shape[1], *size))
    for n, k in np.ndindex(boxes.shape[:2]):
        x0, y0, x1, y1 = boxes[n, k] * scale
        if not (x1 > x0 and y1 > y0):
            continue
        for i, j in np.ndindex(size):
            y, wy = nodes(*(y0 + np.array([i, i + 1]) * (y1 - y0) / size[0]))
            x, wx = nodes(*(x0 + np.array([j, j + 1]) * (x1 - x0) / size[1]))
            for c in range(features.shape[1]):
                pooled[n, k, c, i, j] = wy @ interpolated(features[n, c], y, x) @ wx / (wy.sum() * wx.sum())
    return pooled


def some_boxes(n: int, k: int, height: int, width: int, seed: int = 0) -> torch.Tensor:
    """Inside, across the border, and far outside."""
    rng = np.random.default_rng(seed)
    corners = rng.uniform(-0.4, 1.2, (n, k, 2)) * [width, height]
    return torch.from_numpy(np.concatenate([corners, corners + rng.uniform(0.05, 0.8, (n, k, 2)) * width], axis=-1))


@pytest.fixture(params=['all weights at once', 'rows after columns', 'windows'])
def way(request, monkeypatch):
    windows = request.param == 'windows'
    monkeypatch.setattr(WEIGHTS, 'windows_cost', lambda *size: -1 if windows else float('inf'))
    if request.param == 'rows after columns':
        monkeypatch.setattr(MODULE, '_DENSE_CELLS', 0)
        monkeypatch.setattr(MODULE, '_PART_ELEMENTS', 600)


def test_the_quadrature_of_this_file_is_scipys():
    feature, box = np.random.default_rng(0).normal(size=(4, 5)), np.array([[[0.3, -0.7, 3.9, 2.6]]])
    x0, y0, x1, y1 = box[0, 0]
    at = lambda y, x: interpolated(feature, np.array([y]), np.array([x]))[0, 0]  # noqa: E731
    expected = integrate.dblquad(at, x0, x1, y0, y1, epsabs=1e-4)[0] / ((x1 - x0) * (y1 - y0))
    assert abs(by_quadrature(feature[None, None], box, (1, 1), 1.0).item() - expected) < 1e-3


@pytest.mark.parametrize('size', [(1, 1), (7, 7), (2, 5)])
@pytest.mark.parametrize('shape', [(6, 9), (1, 1), (5, 3)])
def test_it_is_the_integral(size, shape, way):
    features = torch.randn(2, 3, *shape, dtype=torch.float64)
    boxes = some_boxes(2, 7, *shape) * 16
    expected = by_quadrature(features.numpy(), boxes.numpy(), size, 1 / 16)
    found = prroi_pool(features, boxes, size, 1 / 16)
    assert found.shape == (2, 7, 3, *size)
    assert np.abs(found.numpy() - expected).max() < 1e-12
    single = prroi_pool(features.float(), boxes.float(), size, 1 / 16)
    assert single.dtype == torch.float32 and np.abs(single.numpy() - expected).max() < 2e-4


@pytest.mark.parametrize('size', [1, (2, 3)])
def test_gradients_reach_features_and_boxes(size, way):
    features = torch.randn(2, 2, 4, 5, dtype=torch.float64, requires_grad=True)
    boxes = some_boxes(2, 3, 4, 5, seed=3).requires_grad_()
    assert torch.autograd.gradcheck(lambda f, b: prroi_pool(f, b, size), (features, boxes))
    of_features = lambda f: prroi_pool(f, boxes.detach(), size)  # noqa: E731
    assert torch.autograd.gradcheck(of_features, features) and torch.autograd.gradgradcheck(of_features, features)


@pytest.mark.parametrize('size', [1, (3, 7)])
def test_reading_windows_is_the_product_with_all_cells(size, monkeypatch):
    """Boxes of a few cells take this way on a CPU; here also boxes of all sizes, out of the map and without area."""
    shape, calls = (3, 5, 17, 23), []
    boxes = torch.cat([some_boxes(3, 9, 17, 23), some_boxes(3, 9, 2, 2) + 4, torch.full((3, 1, 4), np.nan)], dim=1)
    weight = torch.randn(3, 19, 5, *(size if isinstance(size, tuple) else (1, 1)))
    results = []
    for cost, layout in itertools.product([0, float('inf')], [torch.contiguous_format, torch.channels_last]):
        features = torch.randn(shape, generator=torch.Generator().manual_seed(0)).contiguous(memory_format=layout)
        monkeypatch.setattr(WEIGHTS, 'windows_cost', lambda *sizes, cost=cost: cost)
        monkeypatch.setattr(MODULE, 'window_sums', lambda *args: calls.append(args) or window_sums(*args))
        pooled = prroi_pool(features.requires_grad_(), boxes, size)
        (gradient,) = torch.autograd.grad((pooled * weight).sum(), features)
        assert not cost or gradient.shape == shape
        assert cost or gradient.is_contiguous(memory_format=layout)
        results.append((pooled, gradient))
    assert len(calls) == 2
    for pooled, gradient in results[1:]:
        assert torch.allclose(pooled, results[0][0], atol=1e-5) and torch.allclose(gradient, results[0][1], atol=1e-5)
    one = torch.randn(1, 5, 1, 1).expand(shape)  # a map that is a single number in memory
    monkeypatch.setattr(WEIGHTS, 'windows_cost', lambda *sizes: 0)
    leaf = one.clone().requires_grad_()
    of_leaf, of_one = prroi_pool(leaf, boxes, size), prroi_pool(one.detach().requires_grad_(), boxes, size)
    assert torch.equal(of_leaf, of_one)


@pytest.mark.parametrize(
    ('cells', 'number', 'side', 'bins', 'windows'),
    [
        (28, 81, 4, 1, True),  # ReSim's P3
        (28, 81, 12, 1, False),
        (14, 36, 3, 1, False),  # and C4
        (28, 3, 4, 1, False),  # few boxes: turning the map costs more than the product
        (28, 81, 27, 1, False),
        (50, 64, 14, 7, True),  # a detector's
    ],
)
def test_windows_are_read_where_they_are_small(cells, number, side, bins, windows, monkeypatch):
    called = []
    monkeypatch.setattr(MODULE, 'window_sums', lambda *args: called.append(args) or window_sums(*args))
    corners = torch.rand(4, number, 2) * (cells - side)
    boxes = torch.cat([corners, corners + side], dim=-1)
    maps = torch.randn(4, 128, cells, cells)
    prroi_pool(maps, boxes, bins)
    assert bool(called) == windows
    called.clear()
    if bins == 1:
        prroi_pool(maps[:, :2], boxes, bins)  # listing the cells would not be worth it
    monkeypatch.setattr(WEIGHTS, '_MOST_LISTED', 100)  # more would not be bounded in memory
    prroi_pool(maps, boxes, bins)
    assert not called


def test_a_compiled_graph_stays_whole():
    if not hasattr(torch.compiler, 'is_compiling'):
        pytest.skip('before torch 2.2 a graph breaks where boxes are small')
    features, boxes = torch.randn(1, 2, 28, 28), torch.rand(1, 81, 2).repeat(1, 1, 2) + torch.tensor([0, 0, 4, 4])
    compiled = torch.compile(prroi_pool, fullgraph=True, backend='eager')
    assert torch.allclose(compiled(features, boxes), prroi_pool(features, boxes), atol=1e-6)


@pytest.mark.filterwarnings('ignore::torch.jit.TracerWarning', 'ignore::DeprecationWarning')
def test_a_traced_graph_is_for_boxes_of_any_size(monkeypatch):
    monkeypatch.setattr(WEIGHTS, 'windows_cost', lambda *sizes: 0)
    features, boxes = torch.randn(1, 2, 12, 12), torch.tensor([[[1.0, 1, 3, 3]]])
    traced = torch.jit.trace(PrRoIPool(2, 0.5), (features, boxes))
    assert torch.allclose(traced(features, boxes * 6), prroi_pool(features, boxes * 6, 2, 0.5), atol=1e-6)
    with FakeTensorMode(allow_non_fake_inputs=True) as mode:
        assert prroi_pool(mode.from_tensor(features), mode.from_tensor(boxes), 2).shape == (1, 1, 2, 2, 2)


def test_the_default_device_is_not_asked():
    features, boxes = torch.randn(1, 128, 28, 28), torch.rand(1, 81, 2).repeat(1, 1, 2) + torch.tensor([0, 0, 4, 4])
    expected = prroi_pool(features, boxes)
    with torch.device('meta'):
        assert torch.equal(prroi_pool(features, boxes), expected)


def test_the_gradient_of_a_box_is_the_border_minus_the_mean():
    """Eq. 8 of the paper: d/dx1 = (mean of the interpolant along x = x1, minus the mean over the box) / width."""
    feature = np.random.default_rng(1).normal(size=(5, 6))
    box = torch.tensor([[[0.4, 1.3, 3.7, 3.2]]], dtype=torch.float64, requires_grad=True)
    pooled = prroi_pool(torch.from_numpy(feature)[None, None], box)
    pooled.sum().backward()
    y, weights = nodes(1.3, 3.2)
    border = weights @ interpolated(feature, y, np.array([3.7]))[:, 0] / weights.sum()
    assert np.isclose(box.grad[0, 0, 2].item(), (border - pooled.item()) / 3.3)


def test_boxes_without_area_or_number_give_zero_and_no_gradient(way):
    nan, inf = float('nan'), float('inf')
    rows = [[1, 1, 1, 3], [3, 3, 1, 1], [1, 1, 3, nan], [nan] * 4, [-inf, 0, inf, 2], [50, 50, 60, 60], [1, 1, 3, 3]]
    boxes = torch.tensor([rows], requires_grad=True)
    features = torch.ones(1, 2, 5, 5, requires_grad=True)
    pooled = prroi_pool(features, boxes, 2)
    assert not pooled[:, :-1].any() and torch.allclose(pooled[:, -1], torch.ones(2, 2, 2))
    pooled.sum().backward()
    assert features.grad.isfinite().all() and boxes.grad.isfinite().all() and not boxes.grad[:, :-1].any()


def test_a_box_half_outside_is_thinned_by_the_zeros_there():
    pooled = prroi_pool(torch.ones(1, 1, 4, 4), torch.tensor([[[-3.0, 0, 1, 3]]]))
    assert torch.allclose(pooled, torch.tensor(1.5 / 4))  # ones over [0, 1], a slope over [-1, 0], nothing before


def test_rows_with_the_number_of_their_image_are_the_same_boxes_in_any_order(way):
    features, boxes = torch.randn(3, 2, 6, 6), some_boxes(3, 4, 6, 6).float()
    numbers = torch.arange(3).repeat_interleave(4)
    rows = torch.cat([numbers[:, None], boxes.flatten(0, 1)], dim=1)
    order = torch.randperm(12)[:10]  # not every image has as many
    expected = prroi_pool(features, boxes, (2, 3)).flatten(0, 1)[order]
    assert torch.allclose(prroi_pool(features, rows[order], (2, 3)), expected, atol=1e-6)
    assert PrRoIPool((2, 3), 0.5)(features, rows[:0]).shape == (0, 2, 2, 3)
    numbers, boxes = rows[:, :1].double(), rows[:, 1:].double().requires_grad_()
    assert torch.autograd.gradcheck(lambda b: prroi_pool(features.double(), torch.cat([numbers, b], 1)), boxes)


def test_a_grid_of_boxes_is_each_of_its_boxes():
    features = torch.randn(3, 2, 5, 7, dtype=torch.float64, requires_grad=True)
    columns, rows = some_boxes(3, 4, 7, 7)[..., 0::2] * 8, some_boxes(3, 2, 5, 5, seed=1)[..., 1::2] * 8
    columns.requires_grad_(), rows.requires_grad_()
    boxes = [
        torch.stack([columns[:, i, 0], rows[:, j, 0], columns[:, i, 1], rows[:, j, 1]], dim=1)
        for j in range(2)
        for i in range(4)
    ]
    expected = prroi_pool(features, torch.stack(boxes, dim=1), 1, 1 / 8).view(3, 2, 4, 2).permute(0, 3, 1, 2)
    found = prroi_pool_grid(features, columns, rows, 1 / 8)
    assert torch.allclose(found, expected, atol=1e-12)
    inputs, weight = [features, columns, rows], torch.rand_like(found)
    gradients = [torch.autograd.grad((pooled * weight).sum(), inputs) for pooled in (found, expected)]
    for mine, theirs in zip(*gradients, strict=True):
        assert torch.allclose(mine, theirs, atol=1e-12)


@pytest.mark.parametrize('dtype', [torch.bfloat16, torch.float16])
def test_half_precision_is_summed_in_float32(dtype):
    features, boxes = torch.randn(2, 3, 14, 14).to(dtype), some_boxes(2, 5, 14, 14)
    expected = prroi_pool(features.double(), boxes, 2)
    found = prroi_pool(features, boxes, 2)
    assert found.dtype == dtype
    assert (found.double() - expected).abs().max() <= expected.abs().max() * torch.finfo(dtype).eps
    with torch.autocast('cpu', dtype=torch.bfloat16):
        inside = prroi_pool(features.float(), boxes, 2)
    assert inside.dtype == torch.float32 and torch.allclose(inside.double(), expected, atol=1e-5)


def test_the_parts_keep_memory_bounded_and_change_nothing(monkeypatch):
    monkeypatch.setattr(WEIGHTS, 'windows_cost', lambda *size: float('inf'))
    features, boxes = torch.randn(1, 4, 40, 40, requires_grad=True), some_boxes(1, 30, 40, 40).float()
    whole = prroi_pool(features, boxes, 7)
    (expected,) = torch.autograd.grad(whole.square().sum(), features)
    monkeypatch.setattr(MODULE, '_PART_ELEMENTS', 4 * 40 * 7 * 4)  # four boxes
    kept = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t.numel()) or t, lambda t: t):
        parts = prroi_pool(features, boxes, 7)
    assert max(kept) <= 30 * 7 * 40 * 2 and torch.allclose(parts, whole, atol=1e-5)
    (gradient,) = torch.autograd.grad(parts.square().sum(), features)
    assert torch.allclose(gradient, expected, atol=1e-4)


@pytest.mark.parametrize(
    ('shape', 'boxes', 'size', 'sentence'),
    [
        ((3, 4, 4), (1, 2, 4), 1, r'features must be \(N, C, H, W\)'),
        ((2, 3, 4, 4), (1, 2, 4), 1, r'boxes must be \(2, K, 4\).*got \(1, 2, 4\)'),
        ((2, 3, 4, 4), (7, 4), 1, r'or \(M, 5\), got \(7, 4\)'),
        ((2, 3, 4, 4), (2, 2, 4), 0, 'output_size must be one positive number or two, got 0'),
    ],
)
def test_other_shapes_are_refused(shape, boxes, size, sentence):
    with pytest.raises(ValueError, match=sentence):
        prroi_pool(torch.zeros(shape), torch.zeros(boxes), size)


def test_a_box_of_an_image_that_is_not_there_is_refused():
    with pytest.raises(ValueError, match='boxes are of images 0 to 2, but there are 2'):
        prroi_pool(torch.zeros(2, 3, 4, 4), torch.tensor([[0.0, 0, 0, 1, 1], [2, 0, 0, 1, 1]]))


@pytest.mark.skipif(not torch.cuda.is_available(), reason='compares with mmcv on a GPU')
@pytest.mark.parametrize('size', [1, 7])
def test_it_is_mmcvs_cuda_operator(size):
    from mmcv.ops import PrRoIPool as Theirs

    features = torch.randn(2, 8, 14, 14, device='cuda')
    boxes = some_boxes(2, 9, 14, 14).float().cuda() * 16
    rows = torch.cat([torch.arange(2).repeat_interleave(9).cuda()[:, None], boxes.flatten(0, 1)], dim=1)
    results = []
    for pool in (PrRoIPool(size, 1 / 16), Theirs(size, 1 / 16)):
        leaves = [features.clone().requires_grad_(), rows.clone().requires_grad_()]
        pooled = pool(*leaves)
        results.append([pooled, *torch.autograd.grad(pooled.square().sum(), leaves)])
    for ours, theirs in zip(*results, strict=True):
        assert torch.allclose(ours, theirs, atol=1e-4)
