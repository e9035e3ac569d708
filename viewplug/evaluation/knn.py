"""Weighted nearest-neighbour classification on frozen features.

Wu et al., "Unsupervised Feature Learning via Non-Parametric Instance Discrimination", CVPR 2018, sec. 3.4 and 4.1;
the protocol of DINO's ``eval_knn.py``: cosine similarity, the k nearest of a labelled bank, votes weighted by
exp(similarity / temperature).
"""

import logging
import warnings
from collections.abc import Callable, Iterable, Sequence

import torch
import torch.nn.functional as F
from mmengine.dist import all_gather, all_reduce
from mmengine.logging import print_log
from torch import Tensor, nn
from torch.utils.data import DataLoader

from viewplug.evaluation.classes import check_classes
from viewplug.evaluation.features import STAND_IN, extract_features, gather_shares, share
from viewplug.evaluation.image_sizes import one_size
from viewplug.evaluation.stand_ins import left_out, marked
from viewplug.running_stats import average_running_stats


def knn_predict(
    queries: Tensor,
    bank: Tensor,
    bank_labels: Tensor,
    k: int | Sequence[int] = 20,
    temperature: float = 0.07,
    query_chunk: int = 1024,
    bank_chunk: int = 32768,
) -> dict[int, Tensor]:
    """Classes of ``queries`` by weighted vote of their nearest features in ``bank``; exact, in bounded memory.

    Args:
        queries: (Q, D) features, normalised here.
        bank: (M, D) features of labelled images; may lie on another device, it is moved chunk by chunk.
        bank_labels: (M,) integer classes.
        k: Number of neighbours, or several; one beyond M means all M.
        temperature: Of the weights exp(cosine / temperature).
        query_chunk, bank_chunk: No array larger than query_chunk x bank_chunk is made.

    Returns:
        For each k, the predicted classes (Q,). A tied vote goes to the class of the nearest neighbour among the tied.
    """
    ks = check_knn(k, temperature)
    if max(ks) > len(bank):
        warnings.warn(f'k={max(ks)} is larger than the bank of {len(bank)} features; all of them vote.', stacklevel=2)
    similarity, labels = nearest(queries, bank, bank_labels, max(ks), query_chunk, bank_chunk)
    return weighted_vote(similarity, labels, ks, temperature)


def nearest(
    queries: Tensor, bank: Tensor, bank_labels: Tensor, k: int, query_chunk: int = 1024, bank_chunk: int = 32768
) -> tuple[Tensor, Tensor]:
    """Cosine similarities and labels, both (Q, k), of the k nearest features, best first.

    A bank of fewer than k features fills the remaining columns with similarity -inf, which has no weight in a vote.
    """
    if queries.ndim != 2 or bank.ndim != 2 or queries.shape[1] != bank.shape[1] or len(bank) != len(bank_labels):
        shapes = tuple(queries.shape), tuple(bank.shape), tuple(bank_labels.shape)
        raise ValueError('queries (Q, D), bank (M, D) and bank_labels (M,) do not fit: {}, {}, {}'.format(*shapes))
    found = []
    for query in queries.split(query_chunk):
        query = F.normalize(query.float(), dim=1)
        best = query.new_full((len(query), k), float('-inf'))
        best_labels = torch.zeros(len(query), k, dtype=torch.long, device=query.device)
        for block, labels in zip(bank.split(bank_chunk), bank_labels.split(bank_chunk), strict=True):
            block, labels = F.normalize(block.to(query.device).float(), dim=1), labels.to(query.device)
            similarity, index = (query @ block.T).topk(min(k, len(block)), dim=1)
            best, best_labels = merge_nearest([best, similarity], [best_labels, labels[index]], k)
        found.append((best, best_labels))
    return torch.cat([best for best, _ in found]), torch.cat([labels for _, labels in found])


def merge_nearest(similarities: Iterable[Tensor], labels: Iterable[Tensor], k: int) -> tuple[Tensor, Tensor]:
    """The k best columns out of the neighbours that were found in several parts of a bank; each part (Q, *)."""
    best, index = torch.cat(list(similarities), dim=1).topk(k, dim=1)
    return best, torch.cat(list(labels), dim=1).gather(1, index)


def weighted_vote(similarity: Tensor, labels: Tensor, ks: Sequence[int], temperature: float) -> dict[int, Tensor]:
    """Winning class (Q,) for each k, from neighbours sorted best first: ``similarity`` and ``labels`` (Q, max(ks))."""
    # Relative to the best neighbour: the winner is the same and a low temperature does not overflow.
    weights = ((similarity - similarity[:, :1]) / temperature).exp()
    winners = {k: [] for k in ks}
    for weight, label in zip(weights.split(256), labels.split(256), strict=True):
        for k, won in winners.items():
            same = (label[:, :k, None] == label[:, None, :k]).to(weight.dtype)
            score = (same @ weight[:, :k, None]).squeeze(2)
            won.append(label.gather(1, score.argmax(dim=1, keepdim=True)).squeeze(1))
    return {k: torch.cat(won) for k, won in winners.items()}


def evaluate_knn(
    model: nn.Module,
    train_loader: DataLoader,
    val_loader: DataLoader,
    k: int | Sequence[int] = 20,
    temperature: float = 0.07,
    backbone: nn.Module | None = None,
    say: Callable[[str], object] | None = None,
) -> dict[int, float]:
    """Top-1 accuracy in percent of kNN for each k, the same on every rank; call it on all ranks.

    Each rank extracts its share of both data sets (:func:`share`) and searches the neighbours of all validation images
    in its own part of the bank; the parts' k best are merged, so that no rank ever holds the whole bank. Running
    statistics of batch norm are averaged over the ranks first and stay so: all extract with one network. Images that
    cannot be read neither vote nor count; ``say`` is given a sentence with their number (default: to the log).

    Raises:
        ValueError: When a loader gives no labels, several views of an image, images of several sizes or none that can
            be read, or the two have other classes.
    """
    ks = check_knn(k, temperature)
    check_classes(train_loader.dataset, val_loader.dataset)
    average_running_stats(model, *([] if backbone is None else [backbone]))
    with one_size('kNN: train_dataloader.dataset.pipeline'):
        bank_images = marked(train_loader.dataset)
        bank, bank_labels = extract_features(model, share(train_loader, bank_images), backbone=backbone)
    with one_size('kNN: val_dataloader.dataset.pipeline'):
        queries, labels = extract_features(model, share(val_loader, marked(val_loader.dataset)), backbone=backbone)
    for key, loader, found in (('train', train_loader, bank_labels), ('val', val_loader, labels)):
        if found is None:
            raise ValueError(
                f'kNN needs labels, but {key}_dataloader gives data_samples without gt_label '
                f'(dataset {type(loader.dataset).__name__}).'
            )
    total = len(val_loader.dataset)
    queries, labels = gather_shares(queries, total), gather_shares(labels, total)
    unread = (bank_labels == STAND_IN).sum()
    if bank_images is not train_loader.dataset:  # no image of others is marked, on any rank
        all_reduce(unread)
    for key, number, size in (
        ('train', int(unread), len(train_loader.dataset)),
        ('val', int((labels == STAND_IN).sum()), total),
    ):
        sentence = f'kNN: {left_out(number, size, f"{key}_dataloader")}'
        if number == size:
            raise ValueError(f'{sentence}, and there is no other')
        if number:
            (say or _to_log)(sentence)
    bank, bank_labels = bank[bank_labels != STAND_IN], bank_labels[bank_labels != STAND_IN]
    queries, labels = queries[labels != STAND_IN], labels[labels != STAND_IN]
    similarity, neighbours = nearest(queries, bank, bank_labels, max(ks))
    similarity, neighbours = merge_nearest(all_gather(similarity), all_gather(neighbours), max(ks))
    predictions = weighted_vote(similarity, neighbours, ks, temperature)
    return {k: 100.0 * (predictions[k] == labels).float().mean().item() for k in ks}


def _to_log(sentence: str) -> None:
    print_log(sentence, 'current', logging.WARNING)


def check_knn(k: int | Sequence[int], temperature: float) -> tuple[int, ...]:
    """``k`` as a tuple of distinct positive numbers, in the order given."""
    ks = tuple(dict.fromkeys([k] if isinstance(k, int) else k))
    if not ks or any(not isinstance(one, int) or isinstance(one, bool) or one < 1 for one in ks):
        raise ValueError(f'k must be a positive integer or several of them, got {k!r}.')
    if not temperature > 0:
        raise ValueError(f'temperature must be positive, got {temperature!r}.')
    return ks
