"""Bytes between processes, and products of a contrast, by formula.

``python -m benchmarks.collectives`` compares the formulas with what gloo processes really move. W processes, N images a
process, D numbers an embedding, all in bytes that a process receives (it sends as many), by the ring algorithm.
"""

from __future__ import annotations

import math

FLOAT, LONG, DOUBLE = 4, 8, 8
R50 = dict(backbone=23_508_032, batch_norm_layers=53, batch_norm_channels=26_560)
MLP = 2048 * 2048 + 2048 + 2048 * 128 + 128
R50_FORWARD = 4.1e9  # multiply-accumulates at 224 px, torchvision's table
C4 = dict(windows=6**2, positions=12**2)  # queries and negatives of an image, RegionHead
P3 = dict(windows=9**2, positions=26**2)
CPC = dict(predictions=140, patches=7**2, width=1024)  # of an image, configs/cpc/cpc_v1_r101.py


def gather(w: int, size: float) -> float:
    """Of ``size`` bytes a process."""
    return (w - 1) * size


def all_reduce(w: int, size: float) -> float:
    """Of ``size`` bytes."""
    return 2 * (w - 1) / w * size


def broadcast(w: int, size: float) -> float:
    """Of ``size`` bytes, the mean over processes, of which one only sends."""
    return (w - 1) / w * size


all_to_all = broadcast
"""Of ``size`` bytes that a process holds, an even share of which stays."""


def image_bytes(size: int) -> int:
    return 3 * size**2 * FLOAT


def queue(w: int, n: int, d: int, views: int = 1) -> float:
    """The keys of ``views`` target views."""
    return gather(w, views * n * d * FLOAT)


def shuffle_images(w: int, n: int, size: int, views: int = 1) -> float:
    """ShuffleBN's images by an all-to-all, and the order."""
    return views * (all_to_all(w, n * image_bytes(size)) + broadcast(w, w * n * LONG))


def shuffle_keys(w: int, n: int, d: int, views: int = 1) -> float:
    """ShuffleBN's way back."""
    return all_to_all(w, views * n * d * FLOAT)


def in_batch_forward(w: int, n: int, d: int, pairs: int = 2) -> float:
    return pairs * gather(w, 2 * n * d * FLOAT)


def in_batch_backward(w: int, n: int, d: int, pairs: int = 2) -> float:
    return pairs * all_reduce(w, w * 2 * n * d * FLOAT)


def regions(w: int, n: int, positions: int, d: int) -> float:
    """ReSim's negatives of one level with gather=True, for a pair of views whose target has no gradient."""
    return gather(w, n * positions * d * FLOAT)


def region_counts(w: int, levels: int = 1) -> float:
    """How many windows count, a number a level, for a pair of views; also with gather=False or the cosine."""
    return all_reduce(w, levels * FLOAT)


def centres(w: int, prototypes: int, heads: int = 1) -> float:
    """DINO's and iBOT's sums of logits and number of rows, of each head."""
    return heads * all_reduce(w, (prototypes + 1) * FLOAT)


def cpc_forward(w: int, n: int, patches: int, d: int) -> float:
    """CPC's candidates, negatives='batch'."""
    return gather(w, n * patches * d * FLOAT)


def cpc_backward(w: int, n: int, patches: int, d: int) -> float:
    return all_reduce(w, w * n * patches * d * FLOAT)


def gradients(w: int, parameters: int) -> float:
    return all_reduce(w, parameters * FLOAT)


def sync_bn(w: int, channels: int, layers: int, forwards: int, backwards: int) -> float:
    """torch's SyncBatchNorm: mean, inverse deviation and count of each layer; two sums a channel in backward."""
    return forwards * gather(w, (2 * channels + layers) * FLOAT) + backwards * all_reduce(w, 2 * channels * FLOAT)


def running_stats(w: int, channels: int) -> float:
    """Means and variances of so many channels of batch norm, in float64."""
    return all_reduce(w, 2 * channels * DOUBLE)


def knn(w: int, queries: int, d: int, k: int) -> float:
    """An evaluation: features and labels of the queries, the k nearest of each in every part of the bank, and how
    many images of the bank cannot be read."""
    rows, nearest = math.ceil(queries / w) * (d * FLOAT + LONG), queries * k * (FLOAT + LONG)
    return gather(w, rows) + gather(w, nearest) + all_reduce(w, LONG)


def box_update(w: int, images: int) -> float:
    """An update: box, dead, unreadable."""
    return gather(w, math.ceil(images / w) * 6 * FLOAT)


def merged_maps(w: int, images: int, grid: int) -> float:
    """What source='views' adds to an update."""
    return 2 * all_reduce(w, images * grid**2 * FLOAT)


def steps(w: int, n: int, d: int = 128, size: int = 224) -> dict[str, float]:
    """Bytes of the parts of a step; ResNet-50, and the heads at their papers' sizes."""
    layers = dict(channels=R50['batch_norm_channels'], layers=R50['batch_norm_layers'])
    return {
        'gradients (every framework)': gradients(w, R50['backbone'] + MLP),
        'MoCo: keys for the queue': queue(w, n, d),
        'MoCo: ShuffleBN, were its images gathered': gather(w, n * image_bytes(size)),
        'MoCo: ShuffleBN, keys back': shuffle_keys(w, n, d),
        'MoCo: ShuffleBN, images by an all-to-all': shuffle_images(w, n, size),
        'MoCo: SyncBN on both sides': sync_bn(w, **layers, forwards=2, backwards=1),
        'MoCo: eman=True': running_stats(w, R50['batch_norm_channels']),
        'SimCLR: embeddings': in_batch_forward(w, n, d),
        'SimCLR: their gradient': in_batch_backward(w, n, d),
        'SimCLR: SyncBN, joint views': sync_bn(w, **layers, forwards=1, backwards=1),
        'ReSim-C4: negatives, gather=True': regions(w, n, C4['positions'], d),
        "ReSim-FPN: P3's, were they gathered": regions(w, n, P3['positions'], d),
        'DINO: centre of 65,536 prototypes': centres(w, 65_536),
        'iBOT: two centres of 8,192': centres(w, 8192, heads=2),
        "DINO: gradients of the prototypes' layer, 256 x 65,536": gradients(w, 256 * 65_536),
        "CPC: patches, negatives='batch'": cpc_forward(w, n, CPC['patches'], CPC['width']),
        'CPC: their gradient': cpc_backward(w, n, CPC['patches'], CPC['width']),
    }


def contrasts(w: int, n: int, d: int = 128) -> dict[str, float]:
    """Multiply-accumulates an image of the similarities, which is one matrix product; gradients are one or two more."""
    return {
        'MoCo: queue of 65,536': 65_536 * d,
        'SimCLR': 2 * 2 * w * n * d,
        'ReSim-C4, gather=True': C4['windows'] * C4['positions'] * w * n * d,
        'ReSim-C4, gather=False': C4['windows'] * C4['positions'] * n * d,
        'ReSim-FPN: P3, gather=False': P3['windows'] * P3['positions'] * n * d,
        "CPC, negatives='batch'": CPC['predictions'] * CPC['patches'] * w * n * CPC['width'],
        "CPC, negatives='image'": CPC['predictions'] * CPC['patches'] * CPC['width'],
        'for comparison: a forward of ResNet-50': R50_FORWARD,
    }
