import math

import numpy as np
import torch

from viewplug.evaluation.representation import alignment, effective_rank, embedding_std, thin, uniformity

Z = torch.randn(64, 16, generator=torch.Generator().manual_seed(0))
Y = Z + 0.3 * torch.randn(64, 16, generator=torch.Generator().manual_seed(1))


def unit(z):
    z = z.numpy().astype(np.float64)
    return z / np.linalg.norm(z, axis=1, keepdims=True)


def test_std_is_zero_for_one_point_and_one_for_an_even_sphere():
    assert embedding_std(torch.ones(8, 5)) < 1e-6
    assert abs(embedding_std(torch.randn(4096, 32)) - 1) < 0.02
    assert np.isclose(embedding_std(Z), unit(Z).std(axis=0).mean() * 4, atol=1e-6)


def test_effective_rank_counts_equal_directions():
    assert np.isclose(effective_rank(torch.eye(16)[:5]), 5, atol=1e-4)
    assert np.isclose(effective_rank(torch.ones(8, 5)), 1, atol=1e-3)
    assert effective_rank(torch.zeros(8, 5)) == 1
    s = np.linalg.svd(Z.numpy(), compute_uv=False)
    p = s / s.sum()
    assert np.isclose(effective_rank(Z), np.exp(-(p * np.log(p)).sum()), rtol=1e-5)


def test_alignment_is_the_mean_squared_distance_of_pairs():
    assert alignment(Z, 3 * Z) < 1e-9
    assert np.isclose(alignment(Z, -Z), 4)
    assert np.isclose(alignment(Z, Y), ((unit(Z) - unit(Y)) ** 2).sum(1).mean(), rtol=1e-5)


def test_uniformity_is_the_log_mean_potential_of_distinct_pairs():
    assert abs(uniformity(torch.ones(8, 5))) < 1e-6
    z = unit(Z)
    pairs = [math.exp(-2 * ((z[i] - z[j]) ** 2).sum()) for i in range(64) for j in range(i)]
    assert np.isclose(uniformity(Z), math.log(np.mean(pairs)), rtol=1e-5)


def test_thinning_keeps_first_and_last_row_and_no_more_than_asked():
    rows = torch.arange(5000)[:, None]
    kept = thin(rows, 1024)
    assert len(kept) == len(kept.unique()) == 1024 and kept[0] == 0 and kept[-1] == 4999
    assert torch.equal(thin(rows[:7], 1024), rows[:7])


def test_half_precision_embeddings_are_measured_in_float32():
    for value in (embedding_std(Z.half()), effective_rank(Z.bfloat16()), uniformity(Z.half()), alignment(Z.half(), Y)):
        assert value.dtype == torch.float32 and value.isfinite()
