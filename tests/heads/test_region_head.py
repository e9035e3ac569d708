"""RegionHead against ReSim's equations written out window by window, in one process and in two."""

import itertools
import math

import pytest
import torch
from mmengine.dist import get_rank
from processes import in_processes
from torch.nn.functional import normalize

from viewplug.heads import RegionHead
from viewplug.necks import MLPNeck
from viewplug.necks.region import tokens_of_maps
from viewplug.ops import prroi_pool
from viewplug.views import ViewGeometry

T, SIZE, DOWN = 0.3, 32, 4
FLIPS = list(itertools.product([False, True], repeat=2))
INFO_NCE, COSINE = dict(type='InfoNCELoss', temperature=T), dict(type='CosineLoss', scale=2.0, shift=2.0)


def geometry_of(number: int, flips=None, meet: bool = True) -> ViewGeometry:
    size = torch.rand(number, 2, 2).double() * (0.4 if meet else 0.2) + (0.6 if meet else 0.2)
    low = torch.rand(number, 2, 2).double() * ((1 if meet else 0.5) - size)
    if not meet:
        low[:, 1] += 0.5
    flips = torch.rand(number, 2) < 0.5 if flips is None else torch.tensor(flips).expand(number, 2)
    return ViewGeometry(torch.cat([low, low + size], dim=2), flips)


def head(**changes) -> RegionHead:
    return RegionHead(
        **dict(dict(window=12, stride=8, downsample=DOWN, input_size=SIZE, loss=INFO_NCE), **changes)
    ).double()


def maps(number: int = 4, channels: int = 5, side: int = SIZE // DOWN) -> torch.Tensor:
    return torch.randn(number, channels, side, side).double().requires_grad_()


def matched_windows(geometry: ViewGeometry, image: int, window: int, stride: int, size: int, pair):
    """Pixel boxes (query, key) of the windows of one image that lie in the overlap, one at a time."""
    (qx0, qy0, qx1, qy1), (kx0, ky0, kx1, ky1) = (geometry.boxes[image, view].tolist() for view in pair)
    query_flipped, key_flipped = (bool(geometry.flips[image, view]) for view in pair)
    low_x, low_y, high_x, high_y = geometry.overlap(*pair)[image].tolist()
    for top, left in itertools.product(range(0, size - window + 1, stride), repeat=2):
        box = (left, top, left + window, top + window)
        x0, x1 = (size - box[2], size - box[0]) if query_flipped else (box[0], box[2])
        x0, x1 = (qx0 + x / size * (qx1 - qx0) for x in (x0, x1))
        y0, y1 = (qy0 + y / size * (qy1 - qy0) for y in (box[1], box[3]))
        if not (low_x <= x0 and x1 <= high_x and low_y <= y0 and y1 <= high_y):
            continue
        u0, u1 = ((x - kx0) / (kx1 - kx0) * size for x in (x0, x1))
        u0, u1 = (size - u1, size - u0) if key_flipped else (u0, u1)
        v0, v1 = ((y - ky0) / (ky1 - ky0) * size for y in (y0, y1))
        yield box, (u0, v0, u1, v1)


def pooled_box(features: torch.Tensor, image: int, box, down: int, shift: float = 0.5) -> torch.Tensor:
    box = torch.tensor(box, dtype=torch.float64) / down - shift
    return prroi_pool(features[image : image + 1], box[None, None])[0, 0, :, 0, 0]


def plain_loss(
    query_map, key_map, geometry, window, stride, down, kernel, loss, predictor=None, pair=(0, 1), shift=0.5
):
    """Equations 1 and 2 with their -log, every exponential of its own; or the affine cosine."""
    size = query_map.shape[-1] * down
    number, _, side, _ = key_map.shape
    negatives = [
        normalize(key_map[n, :, y : y + kernel, x : x + kernel].mean((1, 2)), dim=0)
        for n, y, x in itertools.product(range(number), range(side - kernel + 1), range(side - kernel + 1))
    ]
    terms = []
    for image in range(number):
        for query_box, key_box in matched_windows(geometry, image, window, stride, size, pair):
            q, k = (
                pooled_box(query_map, image, query_box, down, shift),
                pooled_box(key_map, image, key_box, down, shift),
            )
            if loss['type'] == 'CosineLoss':
                q = q if predictor is None else predictor((q[None],))[0][0]
                terms.append(2 - 2 * normalize(q, dim=0) @ normalize(k, dim=0).detach())
                continue
            q, k = normalize(q, dim=0), normalize(k, dim=0)
            positive = torch.exp(q @ k / T)
            terms.append(-torch.log(positive / (positive + sum(torch.exp(q @ other / T) for other in negatives))))
    return sum(terms) / len(terms), len(terms)


def compare(found, expected, inputs):
    assert found.item() == pytest.approx(expected.item(), rel=1e-9)
    for a, b in zip(*(torch.autograd.grad(x, inputs, allow_unused=True) for x in (found, expected)), strict=True):
        if b is None:
            assert a is None or not a.any()
        else:
            assert b.abs().max() > 1e-4 and torch.allclose(a, b, rtol=1e-7, atol=1e-10)


@pytest.mark.parametrize('flips', [*FLIPS, None])
@pytest.mark.parametrize('loss', [INFO_NCE, COSINE], ids=['info_nce', 'cosine'])
def test_loss_and_gradients_are_those_of_the_equations_for_every_flip(flips, loss):
    query, key, geometry = maps(), maps(), geometry_of(4, flips)
    results = head(loss=loss).loss(tokens_of_maps([query]), tokens_of_maps([key]), geometry, pair=(0, 1))
    expected, count = plain_loss(query, key, geometry, 12, 8, DOWN, 3, loss)
    assert 4 < count < 36 and results['valid_windows'].item() * 4 == pytest.approx(count)
    compare(results['loss'], expected, (query, key))


@pytest.mark.parametrize('window, stride, kernel, shift', [(12, 4, 3, 0.5), (16, 12, 4, 0.5), (12, 8, 1, 0.0)])
def test_other_windows_kernels_and_the_unaligned_form_are_those_of_the_equations(window, stride, kernel, shift):
    query, key, geometry = maps(3), maps(3), geometry_of(3)
    changed = head(window=window, stride=stride, negative_kernel=kernel, aligned=bool(shift))
    results = changed.loss(tokens_of_maps([query]), tokens_of_maps([key]), geometry)
    expected, _ = plain_loss(query, key, geometry, window, stride, DOWN, kernel, INFO_NCE, shift=shift)
    compare(results['loss'], expected, (query, key))


def test_the_other_direction_slides_windows_over_the_other_view():
    query, key, geometry = maps(), maps(), geometry_of(4)
    results = head().loss(tokens_of_maps([query]), tokens_of_maps([key]), geometry, pair=(1, 0))
    expected, _ = plain_loss(query, key, geometry, 12, 8, DOWN, 3, INFO_NCE, pair=(1, 0))
    compare(results['loss'], expected, (query, key))


def test_a_predictor_sees_the_queries_only():
    predictor = MLPNeck(5, 6, 5, normalize=False).double()
    query, key, geometry = maps(), maps(), geometry_of(4)
    found = head(loss=COSINE, predictor=predictor).loss(tokens_of_maps([query]), tokens_of_maps([key]), geometry)
    expected, _ = plain_loss(query, key, geometry, 12, 8, DOWN, 3, COSINE, predictor)
    compare(found['loss'], expected, (query, *predictor.parameters()))


def test_losses_of_several_levels_are_added_with_their_own_windows():
    levels = dict(window=(8, 12), stride=(8, 4), downsample=(2, 4), gather=(False, True), feat_dim=(3, 5))
    query, key, geometry = [maps(2, 3, 16), maps(2, 5)], [maps(2, 3, 16), maps(2, 5)], geometry_of(2)
    results = head(**levels).loss(tokens_of_maps(query), tokens_of_maps(key), geometry)
    fine, many = plain_loss(query[0], key[0], geometry, 8, 8, 2, 3, INFO_NCE)
    coarse, few = plain_loss(query[1], key[1], geometry, 12, 4, 4, 3, INFO_NCE)
    assert results['valid_windows'].item() * 2 == pytest.approx(many + few)
    compare(results['loss'], fine + coarse, (*query, *key))


def test_predictors_of_several_levels_have_their_own_widths():
    predictor = [dict(type='MLPNeck', hidden_channels=width, normalize=False) for width in (2, 7)]
    both = head(window=(8, 12), stride=8, downsample=(2, 4), feat_dim=[3, 5], loss=COSINE, predictor=predictor)
    assert [[layer.weight.shape for layer in p.mlp if hasattr(layer, 'weight')] for p in both.predictors] == [
        [(2, 3), (3, 2)],
        [(7, 5), (5, 7)],
    ]


def test_roi_align_pools_almost_the_same_vectors():
    query, key, geometry = maps(), maps(), geometry_of(4)
    exact, sampled = (
        head(pool=pool).loss(tokens_of_maps([query]), tokens_of_maps([key]), geometry)['loss']
        for pool in ('prroi', 'roi_align')
    )
    assert exact != sampled and abs(exact - sampled) < 0.1 * exact
    (gradient,) = torch.autograd.grad(sampled, query)
    assert gradient.any()


@pytest.mark.parametrize('loss', [INFO_NCE, COSINE], ids=['info_nce', 'cosine'])
def test_a_batch_without_a_valid_window_is_a_zero_loss_with_a_graph(loss):
    predictor = dict(type='MLPNeck', norm_cfg=dict(type='BN'), normalize=False) if loss is COSINE else None
    query, key = maps(), maps()
    empty = head(loss=loss, predictor=predictor, feat_dim=5)
    results = empty.loss(tokens_of_maps([query]), tokens_of_maps([key]), geometry_of(4, meet=False))
    assert results['loss'] == 0 and results['valid_windows'] == 0
    results['loss'].backward()
    assert torch.equal(query.grad, torch.zeros_like(query))


def test_images_whose_views_do_not_meet_count_nothing_with_the_cosine():
    query, key, geometry = maps(), maps(), geometry_of(4)
    apart = geometry_of(4, meet=False)
    both = ViewGeometry(torch.cat([geometry.boxes, apart.boxes]), torch.cat([geometry.flips, apart.flips]))
    twice = [tokens_of_maps([torch.cat([x, maps()])]) for x in (query, key)]
    alone = head(loss=COSINE).loss(tokens_of_maps([query]), tokens_of_maps([key]), geometry)['loss']
    assert head(loss=COSINE).loss(*twice, both)['loss'].item() == pytest.approx(alone.item(), rel=1e-12)


@pytest.mark.parametrize('dtype', [torch.bfloat16, torch.float16])
def test_low_precision_maps_are_compared_in_float32(dtype):
    query, key = (tokens_of_maps([maps().detach().to(dtype)]) for _ in range(2))
    geometry = geometry_of(4)
    geometry.boxes = geometry.boxes.float()
    expected = head().float().loss(query.float(), key.float(), geometry)['loss']
    with torch.autocast('cpu', dtype=torch.bfloat16):
        found = head().float().loss(query, key, geometry)['loss']
    assert found.dtype == torch.float32 and torch.equal(found, expected)


def a_share(loss, query, key, geometry, share: bool) -> dict:
    """Loss, count and gradients of this process's half of the batch, weighted as DDP would."""
    if share:
        half = slice(*((0, 3) if get_rank() == 0 else (3, 6)))
        query, key = query[half], key[half]
        geometry = ViewGeometry(geometry.boxes[half], geometry.flips[half])
    torch.manual_seed(1)
    project = torch.nn.Conv2d(5, 5, 3, padding=1).double()
    predictor = MLPNeck(5, 6, 5, normalize=False).double() if loss is COSINE or loss == COSINE else None
    compared = head(loss=loss, predictor=predictor)
    results = compared.loss(tokens_of_maps([project(query)]), tokens_of_maps([project(key)]), geometry)
    results['loss'].backward()
    gradients = [p.grad for p in (*project.parameters(), *compared.parameters())]
    return dict(loss=results['loss'].item(), valid=results['valid_windows'].item(), gradients=gradients)


@pytest.mark.parametrize('loss', [INFO_NCE, COSINE], ids=['info_nce', 'cosine'])
@pytest.mark.parametrize('second', ['meets', 'has_no_window'])
def test_two_processes_have_the_loss_and_gradients_of_one_also_if_one_has_no_window(tmp_path, loss, second):
    first, rest = geometry_of(3), geometry_of(3, meet=second == 'meets')
    geometry = ViewGeometry(torch.cat([first.boxes, rest.boxes]), torch.cat([first.flips, rest.flips]))
    query, key = maps(6).detach(), maps(6).detach()
    one = a_share(loss, query, key, geometry, False)
    two = in_processes(a_share, tmp_path, loss, query, key, geometry, True)
    assert sum(rank['loss'] for rank in two) / 2 == pytest.approx(one['loss'], rel=1e-9)
    assert all(rank['valid'] == pytest.approx(one['valid']) for rank in two)
    assert (two[1]['loss'] == 0) == (second == 'has_no_window')
    for a, b, whole in zip(*(rank['gradients'] for rank in two), one['gradients'], strict=True):
        assert torch.allclose((a + b) / 2, whole, rtol=1e-8, atol=1e-11)
    assert max(gradient.abs().max() for gradient in one['gradients']) > 1e-3


def local_loss(query, key, geometry, gather) -> float:
    half = slice(0, 2) if get_rank() == 0 else slice(2, 4)
    geometry = ViewGeometry(geometry.boxes[half], geometry.flips[half])
    return head(gather=gather).loss(*(tokens_of_maps([x[half]]) for x in (query, key)), geometry)['loss'].item()


def test_without_gathering_negatives_are_those_of_the_process(tmp_path):
    query, key, geometry = maps().detach(), maps().detach(), geometry_of(4)
    found = in_processes(local_loss, tmp_path, query, key, geometry, False)
    parts = []
    for half in (slice(0, 2), slice(2, 4)):
        part = ViewGeometry(geometry.boxes[half], geometry.flips[half])
        parts.append(plain_loss(query[half], key[half], part, 12, 8, DOWN, 3, INFO_NCE))
    total = sum(count for _, count in parts)
    for value, (loss, count) in zip(found, parts, strict=True):
        assert value == pytest.approx(loss.item() * count * 2 / total, rel=1e-9)


def test_the_papers_numbers_of_windows_and_negatives():
    grids = RegionHead(window=(32, 48), stride=(24, 32), downsample=(8, 16), gather=(False, True)).grids
    windows = [grid.count**2 for grid in grids]
    negatives = [(grid.map_size - 2) ** 2 for grid in grids]
    assert windows == [81, 36] and windows[1] * 256 == 9216
    assert [negatives[0] * 256 // 8, negatives[1] * 256] == [21632, 36864]
    assert math.isclose(RegionHead().loss_module.temperature, 0.2)


@pytest.mark.parametrize(
    'changes, words',
    [
        (dict(window=40), 'window=40.*input_size=32'),
        (dict(negative_kernel=9), 'negative_kernel=9.*8 x 8'),
        (dict(pool='max'), "pool must be 'prroi' or 'roi_align', got 'max'"),
        (dict(loss=torch.nn.MSELoss()), 'viewplug.InfoNCELoss or viewplug.CosineLoss itself, .* got MSELoss'),
        (dict(predictor=dict(type='MLPNeck')), 'a predictor goes with viewplug.CosineLoss'),
        (dict(predictor=dict(type='MLPNeck'), loss=COSINE), 'needs feat_dim.*in_channels'),
        (dict(window=(8, 12), stride=(4, 4, 4)), "'window': 2, 'stride': 3"),
    ],
)
def test_what_does_not_fit_is_refused_with_the_key_at_fault(changes, words):
    with pytest.raises(ValueError, match=words):
        head(**changes)


def test_maps_of_another_size_and_unknown_geometry_are_refused():
    tokens = tokens_of_maps([maps(side=7)])
    with pytest.raises(ValueError, match=r'input_size=32 and downsample=\[4\] mean 8 x 8 .*got \(4, 49, 5\)'):
        head().loss(tokens, tokens, geometry_of(4))
    with pytest.raises(ValueError, match='viewplug.MultiView'):
        head().loss(tokens, tokens, None)
