"""Class-balanced parts of a labelled data set, the same for everybody who has the seed or the file."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path


def balanced_subset(labels: Sequence[int], percent: float, seed: int = 0) -> list[int]:
    """Positions of ``percent`` of the images, equally many of each class (SimCLR, arXiv:2002.05709, sec. 5).

    Of each class the images with the smallest SHA-256 of 'seed:position' are taken, so that every platform and version
    draws the same, and a smaller part lies within a larger one. Each class gives one image at least, and all it has
    where it has fewer than its share; 100 percent is everything.

    Raises:
        ValueError: ``percent`` is not in (0, 100], or there are no labels.
    """
    if not 0 < percent <= 100:
        raise ValueError(f'--fractions are percentages of the labels, above 0 and up to 100, got {percent:g}')
    if not len(labels):
        raise ValueError('no labels to take a part of')
    if percent == 100:
        return list(range(len(labels)))
    members: dict[int, list[int]] = {}
    for position, label in enumerate(labels):
        members.setdefault(int(label), []).append(position)
    share = max(1, round(len(labels) * percent / 100 / len(members)))

    def rank(position: int) -> bytes:
        return hashlib.sha256(f'{seed}:{position}'.encode()).digest()

    return sorted(position for group in members.values() for position in sorted(group, key=rank)[:share])


def stored_subset(path: Path, labels: Sequence[int], percent: float, seed: int = 0) -> list[int]:
    """:func:`balanced_subset`, read from ``path`` where that exists and written to it where not.

    A line holds position and label of an image.

    Raises:
        ValueError: the file is of another data set.
    """
    if not path.exists():
        chosen = balanced_subset(labels, percent, seed)
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_name(path.name + '.partial')
        partial.write_text(''.join(f'{position} {int(labels[position])}\n' for position in chosen))
        partial.replace(path)
    pairs = [tuple(map(int, line.split())) for line in path.read_text().splitlines() if line.strip()]
    for position, label in pairs:
        if position >= len(labels) or int(labels[position]) != label:
            raise ValueError(
                f'{path} is of another data set: it gives image {position} the label {label}; remove it to draw anew'
            )
    return [position for position, _ in pairs]
