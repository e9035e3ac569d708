"""The contrastive test against answers that are known, and against the slow version."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy.stats import binomtest
from sklearn.decomposition import PCA

from viewplug.evaluation.contrastive_test import ContrastiveTest, ranks, wilson_interval
from viewplug.evaluation.pca import fit_pca


def run(queries, keys, dims=(None,), iou=None, batch=7, sources=None, **settings):
    """All images in batches; ``queries`` and ``keys`` are tensors or source -> tensor."""
    queries, keys = ({'x': rows} if isinstance(rows, torch.Tensor) else rows for rows in (queries, keys))
    test = ContrastiveTest({'all': sources or tuple(queries)}, dims, **settings)
    for start in range(0, len(next(iter(queries.values()))), batch):
        part = slice(start, start + batch)
        rows = [{source: values[part] for source, values in side.items()} for side in (queries, keys)]
        test.add(*rows, None if iou is None else iou[part])
    return test


def accuracy(test, dim='full', top='top1'):
    return test.result()['all'][dim][top]['accuracy']


def slow_hits(queries, keys, dim, gallery_size):
    """Image by image: scikit-learn's PCA of the first gallery, a deque of keys, a sort."""
    fitted = {source: PCA(dim // len(keys)).fit(rows[:gallery_size].numpy()) for source, rows in keys.items()}

    def read(rows, index):
        parts = [fitted[source].transform(values[index : index + 1].numpy())[0] for source, values in rows.items()]
        return np.concatenate([part / np.linalg.norm(part) for part in parts])

    number = len(next(iter(keys.values())))
    hits = 0
    for index in range(number):
        # A batch of one: the gallery holds this image's key and the ones before it, or is the first full one.
        last = max(index + 1, gallery_size)
        gallery = {k: read(keys, k) @ read(queries, index) for k in range(last - gallery_size, last)}
        hits += max(gallery, key=gallery.get) == index
    return hits


def test_equal_views_are_always_found_and_unrelated_ones_as_often_as_by_chance():
    keys = torch.randn(2000, 16)
    assert accuracy(run(keys, keys, gallery_size=500, batch=64)) == 100
    found = run(torch.randn(2000, 16), keys, gallery_size=20, batch=64).result()['all']['full']
    assert found['top1']['low'] < 5 < found['top1']['high']
    assert found['top5']['low'] < 25 < found['top5']['high']


def test_a_network_that_gives_all_images_one_vector_or_nan_finds_nothing():
    same = torch.ones(50, 8)
    assert accuracy(run(same, same, gallery_size=20), top='top5') == 0
    assert accuracy(run(same * float('nan'), same, gallery_size=20), top='top5') == 0


def test_components_that_hold_the_signal_find_what_the_raw_embedding_does_not():
    signal, noise = 10 * torch.randn(400, 4), torch.randn(2, 400, 60)
    queries, keys = (torch.cat([signal, 3 * side], dim=1) for side in noise)
    test = run(queries, keys, dims=(4, None), gallery_size=200)
    assert accuracy(test, '4') > accuracy(test) + 5


@pytest.mark.parametrize('gallery_size', [30, 17, 90])
def test_a_rolling_gallery_gives_the_hits_of_the_slow_version(gallery_size):
    keys = {source: torch.randn(60, width) for source, width in (('semantic', 8), ('spatial', 12))}
    queries = {source: rows + torch.randn_like(rows) for source, rows in keys.items()}
    test = run(queries, keys, dims=(8,), gallery_size=gallery_size, batch=1)
    hits = test.result()['all']['8']['top1']['hits']
    assert hits == slow_hits(queries, keys, 8, min(gallery_size, 60)) and 0 < hits < 60
    assert test.gallery_images == min(gallery_size, 60)


def test_every_image_is_tested_once_whatever_the_batches_and_the_gallery():
    keys = torch.randn(83, 6)
    for batch, gallery_size in ((1, 10), (10, 10), (83, 10), (32, 50), (20, 100)):
        result = run(keys, keys, gallery_size=gallery_size, batch=batch).result()['all']['full']
        assert result['n'] == 83 and result['top1']['hits'] == 83


def test_no_more_rows_are_kept_than_the_gallery_has():
    keys = torch.randn(1000, 6)
    test = run(keys, keys, dims=(2, 4, None), gallery_size=50, batch=64)
    assert not test._held
    assert {rows.shape[0] for rows in test._gallery.values()} == {50}
    assert sum(rows.shape[1] for rows in test._gallery.values()) == 2 + 4 + 6


def test_hits_are_counted_in_the_bin_of_the_crops_iou():
    keys = torch.randn(300, 16)
    iou = torch.linspace(0, 1, 300)
    near = iou > 0.5
    queries = torch.where(near[:, None], keys, torch.randn(300, 16))
    cells = run(queries, keys, iou=iou, gallery_size=100, num_bins=4).result()['all']['full']['by_iou']
    assert [cell['iou'] for cell in cells] == [(0, 0.25), (0.25, 0.5), (0.5, 0.75), (0.75, 1)]
    assert [cell['n'] for cell in cells] == torch.histc(iou, 4, 0, 1).long().tolist()
    assert [cell['top1']['accuracy'] for cell in cells][2:] == [100, 100]
    assert all(cell['top1']['high'] < 15 for cell in cells[:2])
    assert 'by_iou' not in run(queries, keys, gallery_size=100).result()['all']['full']


def test_two_sources_share_the_length_and_their_cosines_add_up():
    keys = {'a': torch.randn(90, 8), 'b': torch.randn(90, 8)}
    queries = {'a': keys['a'], 'b': torch.randn(90, 8)}
    test = run(queries, keys, dims=(6,), gallery_size=90, batch=90)
    hits = 0
    halves = {source: fit_pca(rows, 3) for source, rows in keys.items()}
    read = [{s: F.normalize(halves[s](rows), dim=1) for s, rows in side.items()} for side in (queries, keys)]
    similarity = sum(read[0][source] @ read[1][source].T for source in keys)
    hits = int((similarity.argmax(dim=1) == torch.arange(90)).sum())
    assert test.result()['all']['6']['top1']['hits'] == hits


def test_components_are_scikit_learns():
    rows = torch.randn(200, 12) @ torch.randn(12, 12)
    ours, theirs = fit_pca(rows, 5)(rows), PCA(5).fit_transform(rows.numpy())
    assert np.allclose(np.abs(ours), np.abs(theirs), atol=1e-4)


def test_ties_count_against_the_right_key():
    similarity = torch.tensor([[0.5, 0.5, 0.1], [0.9, 0.2, 0.3], [0.1, 0.2, 0.8]])
    assert ranks(similarity, torch.tensor([0, 1, 2])).tolist() == [1, 2, 0]


@pytest.mark.parametrize('hits, number', [(0, 10), (3, 10), (10, 10), (500, 4000)])
def test_the_interval_is_wilsons(hits, number):
    expected = binomtest(hits, number).proportion_ci(0.95, method='wilson')
    assert np.allclose(wilson_interval(hits, number, z=1.959964), (expected.low, expected.high), atol=1e-6)
    assert wilson_interval(0, 0) == (0, 1)


@pytest.mark.parametrize(
    'settings, sentence',
    [
        (dict(dims=(7,), sources=('x', 'y')), r'dims=\[7\] cannot be shared equally by the 2 sources'),
        (dict(dims=(0,)), r'dims=\[0\]'),
        (dict(gallery_size=0), 'gallery_size must be at least 1, got 0'),
        (dict(dims=(20,)), "20 components of 'x' were asked for, but it has 6"),
        (dict(dims=(6,), gallery_size=5), 'the gallery 5 images'),
    ],
)
def test_lengths_that_cannot_be_are_refused_with_a_sentence(settings, sentence):
    rows = {'x': torch.randn(40, 6), 'y': torch.randn(40, 6)}
    settings = {'sources': ('x',), **settings}
    with pytest.raises(ValueError, match=sentence):
        run(rows, rows, **settings).result()
    with pytest.raises(ValueError, match='no image was added'):
        ContrastiveTest({'x': ('x',)}).result()
