"""Some of the classes of a folder of classes: IN-200 out of ImageNet."""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Sequence

from viewplug.datasets.class_folders import number_classes
from viewplug.datasets.image_folder import ImageFolder
from viewplug.registry import DATASETS


@DATASETS.register_module()
class ClassSubset(ImageFolder):
    """The images of some classes of a folder with one sub-folder for each class.

    IN-200 of ContrastiveCrop (sec. 4.3, "200 random classes of IN-1K") is ``num_classes=200`` on ImageNet. The draw
    depends on ``class_seed`` and on the folders' names alone, so training and validation folders give the same
    classes; labels 0 to num_classes - 1 are in the order of the names.

    Args:
        data_root: the folder, e.g. ``data/imagenet/train``.
        num_classes: how many classes to draw.
        class_seed: of the draw.
        classes_file: a text file, one folder name a line. If it exists, its classes are taken and nothing is drawn
            (``num_classes`` and ``class_seed`` do not count); if not, the drawn ones are written there for later runs.
        **kwargs: those of :class:`ImageFolder`, such as ``pipeline``, ``max_corrupt``, ``indices``. Every image has a
            label.

    Raises:
        ValueError: more classes are asked for than there are, or the file names a class that has no folder.
        FileNotFoundError: there is no such folder.
    """

    def __init__(
        self,
        data_root: str | os.PathLike = '',
        num_classes: int = 200,
        class_seed: int = 0,
        classes_file: str | os.PathLike | None = None,
        **kwargs,
    ) -> None:
        if not isinstance(num_classes, int) or num_classes < 1:
            raise ValueError(f'viewplug.ClassSubset: num_classes must be a whole number above 0, got {num_classes!r}')
        if not kwargs.pop('with_label', True):
            raise ValueError('viewplug.ClassSubset: with_label=False makes no sense, for the folders are the classes')
        self.num_classes = num_classes
        self.class_seed = class_seed
        self.classes_file = os.path.expanduser(classes_file) if classes_file else None
        super().__init__(data_root=data_root, with_label=True, **kwargs)

    def _with_classes(self, root: str, images: list[str]) -> list[tuple[str, int]]:
        folders = sorted(entry.name for entry in os.scandir(root) if entry.is_dir() and entry.name[0] != '.')
        chosen = self._chosen(root, folders)
        self.folder_to_idx = number_classes(chosen, self.CLASSES, root, 'viewplug.ClassSubset', 'chosen folder')
        self._metainfo.setdefault('classes', tuple(chosen))
        return [
            (path, self.folder_to_idx[name]) for path in sorted(images) if (name := _first(path)) in self.folder_to_idx
        ]

    def _chosen(self, root: str, folders: list[str]) -> list[str]:
        if self.classes_file and os.path.isfile(self.classes_file):
            with open(self.classes_file, encoding='utf-8') as file:
                chosen = sorted({line.strip() for line in file if line.strip()})
            absent = sorted(set(chosen) - set(folders))
            if absent or not chosen:
                what = f'{absent[0]} and {len(absent) - 1} more, which have no folder' if absent else 'no class'
                raise ValueError(f'viewplug.ClassSubset: classes_file={self.classes_file} names {what} in {root}')
            return chosen
        if self.num_classes > len(folders):
            raise ValueError(
                f'viewplug.ClassSubset: num_classes={self.num_classes}, but {root} has {len(folders)} class folders'
            )
        chosen = draw_classes(folders, self.num_classes, self.class_seed)
        if self.classes_file:
            _write(self.classes_file, chosen)
        return chosen


def draw_classes(names: Sequence[str], number: int, seed: int) -> list[str]:
    """``number`` of ``names``, sorted: those with the smallest SHA-256 of 'seed:name'.

    Every platform and version draws the same, in whatever order the names come, and a name more or less changes at most
    one of the others.
    """
    return sorted(sorted(names, key=lambda name: hashlib.sha256(f'{seed}:{name}'.encode()).digest())[:number])


def _first(path: str) -> str:
    return path.split('/', 1)[0] if '/' in path else ''


def _write(path: str, names: list[str]) -> None:
    """In one step, because every process of a run may do so at once."""
    folder = os.path.dirname(os.path.abspath(path))
    os.makedirs(folder, exist_ok=True)
    with tempfile.NamedTemporaryFile('w', dir=folder, delete=False, encoding='utf-8') as file:
        file.write('\n'.join(names) + '\n')
    os.chmod(file.name, 0o644)
    os.replace(file.name, path)
