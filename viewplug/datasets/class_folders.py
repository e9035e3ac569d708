"""The number of each class folder."""

from __future__ import annotations

from collections.abc import Sequence


def number_classes(folders: Sequence[str], classes: Sequence[str] | None, root: str, dataset: str) -> dict[str, int]:
    """The label of each folder: its place in ``classes`` where those are the folders' names, else in ``folders``.

    Args:
        folders: Names of the folders, sorted.
        classes: What the user calls the classes: the folders' names in an order of his own, or other names for the
            sorted folders, or None.
        root: Where the folders are, for the error.
        dataset: Its type, for the error.

    Raises:
        ValueError: There are more or fewer classes than folders, or only some are names of folders.
    """
    if classes is None:
        return {name: index for index, name in enumerate(folders)}
    if len(classes) != len(folders):
        raise ValueError(f'{dataset}: classes names {len(classes)}, but {root} has {len(folders)} folders.')
    strange, unnamed = sorted(set(classes) - set(folders)), sorted(set(folders) - set(classes))
    if unnamed and not strange:
        raise ValueError(f'{dataset}: classes names a folder of {root} twice and does not name {unnamed[0]}.')
    if strange and len(unnamed) < len(folders):
        raise ValueError(
            f'{dataset}: classes names {strange[0]}, which is no folder of {root}, while other classes are, and does '
            f'not name the folder {unnamed[0]}: name all folders, or give all of them other names in sorted order.'
        )
    return {name: index for index, name in enumerate(folders if strange else classes)}
