"""Interleaved timing: A B C, B C A, ..., so that what else the machine does falls on all."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch

WARM_UP = 2
LEAST, MOST = 5, 40
SHORTEST = 0.1


@dataclass(frozen=True)
class Ratio:
    """Of two times of the same round, over rounds.

    Attributes:
        median, low, high: second, first and third quartile.
    """

    median: float
    low: float
    high: float


def race(
    works: Mapping[str, Callable[[], Any]],
    seconds: float,
    wait: Callable[[], None] = lambda: None,
    said: Callable[[int, int], None] = lambda done, of: None,
    most: int = MOST,
    shortest: float = SHORTEST,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, list[float]]:
    """Seconds of one call of each work, a number a round.

    After ``WARM_UP`` rounds that do not count come as many as ``seconds`` allow, ``LEAST`` to ``most``. Each round
    begins with another work, and calls each often enough that it takes ``shortest`` seconds or more.

    Args:
        works: what is timed, by name.
        seconds: the time for all rounds.
        wait: returns when all that was begun is done (a GPU).
        said: told of every round that is done, and how many there are.
        clock: seconds.
    """
    names = list(works)
    calls = dict.fromkeys(names, 1)
    latest = dict.fromkeys(names, 0.0)

    def timed(name: str) -> float:
        wait()
        begin = clock()
        for _ in range(calls[name]):
            works[name]()
        wait()
        return (clock() - begin) / calls[name]

    for _ in range(WARM_UP):
        for name in names:
            latest[name] = timed(name)
    calls = {name: max(1, math.ceil(shortest / max(latest[name], 1e-9))) for name in names}
    a_round = sum(latest[name] * calls[name] for name in names)
    rounds = min(max(int(seconds / max(a_round, 1e-9)), LEAST), max(most, LEAST))
    times: dict[str, list[float]] = {name: [] for name in names}
    for number in range(rounds):
        first = number % len(names)
        for name in names[first:] + names[:first]:
            times[name].append(timed(name))
        said(number + 1, rounds)
    return times


def ratio(mine: Sequence[float], theirs: Sequence[float], items: tuple[int, int] = (1, 1)) -> Ratio:
    """Of my seconds per item over theirs, round by round.

    Args:
        mine, theirs: seconds of one call in each round.
        items: how many items a call of mine and of theirs makes.
    """
    scale = items[1] / items[0]
    ratios = [scale * a / b for a, b in zip(mine, theirs, strict=True)]
    low, median, high = statistics.quantiles(ratios, n=4, method='inclusive')
    return Ratio(median, low, high)


@contextmanager
def threads(number: int):
    """PyTorch (and OpenCV, if there) with so many threads, for a while."""
    try:
        import cv2
    except ModuleNotFoundError:
        cv2 = None
    before = torch.get_num_threads(), cv2 and cv2.getNumThreads()
    torch.set_num_threads(number)
    if cv2:
        cv2.setNumThreads(number)
    try:
        yield
    finally:
        torch.set_num_threads(before[0])
        if cv2:
            cv2.setNumThreads(before[1])


def waiter(device: str) -> Callable[[], None]:
    """Returns when the device is done."""
    return torch.cuda.synchronize if device == 'cuda' else lambda: None
