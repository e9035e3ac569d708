"""Whether labels mean the same in two data sets."""

from __future__ import annotations

import functools
import logging
from collections.abc import Sequence

from mmengine.logging import print_log
from torch.utils.data import Dataset

from viewplug.datasets.leaves import leaf_datasets

MOST = 10
"""Names that a sentence lists."""
WAY_OUT = (
    'Where the labels do mean the same, set classes=[...] (or metainfo=dict(classes=[...])) of both data sets to the '
    'same names in the order of the labels'
)


def check_classes(train: Dataset, val: Dataset) -> None:
    """Compare ``metainfo['classes']`` of a labelled set and of the one that is judged by it, where both have them.

    A label is a place in a data set's own list of classes, and a folder of class folders lists those that are there.
    As many names of which none is common (WordNet ids and words, say) may be the same classes: that is a warning.

    Raises:
        ValueError: the lists have names in common but differ, or have other lengths.
    """
    known = [(leaf, classes) for leaf in leaf_datasets(train) if (classes := classes_of(leaf))]
    judged = [(leaf, classes) for leaf in leaf_datasets(val) if (classes := classes_of(leaf))]
    if not known:
        return
    first, expected = known[0]
    for leaf, classes in judged:
        if classes == expected:
            continue
        if len(classes) == len(expected) and not set(classes) & set(expected):
            _warn_once(
                f'the validation data ({_place(leaf)}) call the {len(classes)} classes {_names(classes, 3)}, and the '
                f'training data ({_place(first)}) {_names(expected, 3)}: the names cannot be compared, and equal '
                f'labels are taken for equal classes. {WAY_OUT}'
            )
            continue
        raise ValueError(
            f'the validation data ({_place(leaf)}) have other classes than the training data ({_place(first)}): '
            f'{_difference(expected, classes)}. Labels are places in that list: give both the same class folders '
            f'(an empty one will do). {WAY_OUT}'
        )


def classes_of(dataset: Dataset) -> tuple[str, ...]:
    """Names of the classes, none if the data set does not say; it is read in only if it does not say before."""
    if hasattr(dataset, 'full_init') and not getattr(dataset, 'metainfo', {}).get('classes'):
        dataset.full_init()
    return tuple(getattr(dataset, 'metainfo', {}).get('classes') or ())


def _difference(expected: tuple[str, ...], found: tuple[str, ...]) -> str:
    missing = [name for name in expected if name not in found]
    extra = [name for name in found if name not in expected]
    if not missing and not extra:
        return f'the same in another order, {_names(found)} in place of {_names(expected)}'
    parts = [f'{word} {_names(names)}' for word, names in (('missing', missing), ('extra', extra)) if names]
    return '; '.join(parts)


def _names(names: Sequence[str], most: int = MOST) -> str:
    more = f' and {len(names) - most} more' if len(names) > most else ''
    return ', '.join(map(str, names[:most])) + more


@functools.cache
def _warn_once(sentence: str) -> None:
    print_log(sentence, 'current', logging.WARNING)


def _place(dataset: Dataset) -> str:
    prefix = getattr(dataset, 'data_prefix', None)
    folder = prefix.get('img_path') if isinstance(prefix, dict) else prefix
    return str(folder or getattr(dataset, 'data_root', '') or type(dataset).__name__)
