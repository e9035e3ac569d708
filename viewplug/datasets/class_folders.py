"""The number of each class folder."""

from __future__ import annotations

from collections.abc import Sequence


def number_classes(
    folders: Sequence[str], classes: Sequence[str] | None, root: str, dataset: str, kind: str = 'folder'
) -> dict[str, int]:
    """The label of each folder: its place in ``classes`` where those are the folders' names, else in ``folders``.

    Args:
        folders: Names of the folders, sorted.
        classes: What the user calls the classes: the folders' names in an order of his own, or names for the sorted
            folders, some of which may be the folder's own, or None.
        root: Where the folders are, for the error.
        dataset: Its type, for the error.
        kind: What the folders are, for the error.

    Raises:
        ValueError: There are more or fewer classes than folders, or some but not all are names of folders, and one of
            those does not stand at its folder's place.
    """
    if classes is None:
        return {name: index for index, name in enumerate(folders)}
    if len(classes) != len(folders):
        raise ValueError(
            f'{dataset}: classes names {len(classes)}, but {root} has {len(folders)} {kind}s: name each of them once.'
        )
    strange, unnamed = sorted(set(classes) - set(folders)), sorted(set(folders) - set(classes))
    if unnamed and not strange:
        raise ValueError(f'{dataset}: classes names a {kind} of {root} twice and does not name {unnamed[0]}.')
    moved = [name for name, folder in zip(classes, folders, strict=True) if name in folders and name != folder]
    if strange and moved:
        raise ValueError(
            f'{dataset}: classes names {strange[0]}, which is no {kind} of {root}, and {moved[0]}, which is one but '
            f'not at its place in sorted order, and does not name the {kind} {unnamed[0]}: name all {kind}s, in any '
            'order, or give names of your own in sorted order.'
        )
    return {name: index for index, name in enumerate(folders if strange else classes)}
