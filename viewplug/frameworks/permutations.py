"""A set of permutations that are far apart: jigsaw's classes."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor


def distant_permutations(length: int, number: int, seed: int = 0) -> Tensor:
    """Greedy choice of maximal Hamming distance (arXiv:1603.09246, sec. 3.3, algorithm 1, "maximal").

    The first one is drawn at random; each next one is that of all ``length!`` which is furthest from those chosen (the
    largest sum of Hamming distances to them; of several the first in a random order). The same numbers give the same
    set on every machine, and a longer set starts with the shorter one.

    Args:
        length: of a permutation, 2 to 9: all of them are looked at (9: 362,880).
        number: of permutations.
        seed: of the random order.

    Returns:
        (number, length) int64.

    Raises:
        ValueError: a length out of range, or more permutations than there are.
    """
    if not 2 <= length <= 9:
        raise ValueError(f'distant_permutations: length must lie between 2 and 9, got {length}')
    if not 1 <= number <= math.factorial(length):
        raise ValueError(
            f'distant_permutations: number (num_permutations) must lie between 1 and {length}! = '
            f'{math.factorial(length)}, got {number}'
        )
    everyone = _all_permutations(length)
    # Sorting raw words of the stream: numpy promises that stream to stay the same, shuffles not.
    everyone = everyone[np.argsort(np.random.PCG64(seed).random_raw(len(everyone)), kind='stable')]
    columns = np.ascontiguousarray(everyone.T)
    distance = np.zeros(len(everyone), dtype=np.int32)
    chosen = []
    place = 0
    for _ in range(number):
        chosen.append(place)
        for column in columns:
            distance += column != column[place]
        distance[place] = -1 - length * number  # never again
        place = int(distance.argmax())
    return torch.from_numpy(everyone[chosen].astype(np.int64))


def _all_permutations(length: int) -> np.ndarray:
    """(length!, length) int8: each number in turn is put into every gap of all permutations of those below it."""
    found = np.zeros((1, 1), dtype=np.int8)
    for number in range(1, length):
        found = np.concatenate([np.insert(found, gap, number, axis=1) for gap in range(number + 1)])
    return found
