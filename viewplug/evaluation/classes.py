"""Whether labels mean the same in two data sets."""

from __future__ import annotations

from collections.abc import Sequence

from torch.utils.data import Dataset

from viewplug.datasets.leaves import leaf_datasets

MOST = 10
"""Names that a sentence lists."""


def check_classes(train: Dataset, val: Dataset) -> None:
    """Compare ``metainfo['classes']`` of a labelled set and of the one that is judged by it, where both have them.

    A label is a place in a data set's own list of classes, and a folder of class folders lists those that are there.

    Raises:
        ValueError: the lists differ.
    """
    known = [(leaf, classes) for leaf in leaf_datasets(train) if (classes := classes_of(leaf))]
    judged = [(leaf, classes) for leaf in leaf_datasets(val) if (classes := classes_of(leaf))]
    if not known:
        return
    first, expected = known[0]
    for leaf, classes in judged:
        if classes != expected:
            raise ValueError(
                f'the validation data ({_place(leaf)}) have other classes than the training data ({_place(first)}): '
                f'{_difference(expected, classes)}. Labels are places in that list: give both the same class folders '
                '(an empty one will do), or, where there are no folders, the same classes in the same order'
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


def _names(names: Sequence[str]) -> str:
    more = f' and {len(names) - MOST} more' if len(names) > MOST else ''
    return ', '.join(map(str, names[:MOST])) + more


def _place(dataset: Dataset) -> str:
    prefix = getattr(dataset, 'data_prefix', None)
    folder = prefix.get('img_path') if isinstance(prefix, dict) else prefix
    return str(folder or getattr(dataset, 'data_root', '') or type(dataset).__name__)
