"""Where the images of a tar file begin and end, and which of its files are none."""

from __future__ import annotations

import os
import tarfile
from array import array
from collections import Counter, defaultdict
from collections.abc import Iterator
from typing import IO

import numpy as np

from viewplug.datasets.image_files import EXTENSIONS, printable

COLUMNS = 3
IMAGES = {extension: extension for extension in EXTENSIONS}  # one string for all files of a kind


def scan_tar(path: str | os.PathLike) -> tuple[np.ndarray, Counter]:
    """A row for each image of an uncompressed tar, in the order of the file: offset, bytes, label.

    Images are known by the last part of their names, as in :class:`ImageFolder`. Files whose names agree up to the
    first dot are one sample, as webdataset has it: ``a/0001.cls`` (a number) is the label of ``a/0001.jpg``, and of
    ``a/0001.left.jpg`` where there is no ``a/0001.left.cls``. If a sample has images with one dot, the first of those
    is its image; if not, all of its images count. A hard link is the file that it links to. Headers are read and what
    lies between is skipped.

    Returns:
        (n, 3) int64, label -1 where there is none; and how many files were left out, by extension: images beside the
        one of their sample ('.seg.png beside .png'), links without a file in the tar, and all files that belong to no
        image. Names that begin with a dot do not count.

    Raises:
        ValueError: the file is no uncompressed tar, it breaks off, or a label is no number.
    """
    samples = _Samples(path)
    for name, place, file in _members(path):
        samples.add(name, place, file)
    return samples.found()


class _Samples:
    """What is known so far; of a sample that has its image, no more than its key and its row."""

    def __init__(self, path: str | os.PathLike) -> None:
        self.path = path
        self.rows = array('q')
        self.extensions: list[str] = []  # of each row
        self.single: dict[str, int] = {}  # rows of images with one dot, by key: what stands before the first dot
        # Until an image with one dot comes, if ever: stem (what stands before the last dot), extension, row or None.
        self.others: defaultdict[str, list[tuple[str, str, int | None]]] = defaultdict(list)
        self.labels: dict[str, tuple[str, bytes]] = {}  # by stem, until the image comes
        self.beside: list[int] = []  # rows that do not count
        self.left_out = Counter()

    def add(self, name: str, place: tuple[int, int] | None, file: IO[bytes]) -> None:
        """A file of the tar: offset and bytes, or None for a link to what the tar does not hold."""
        begin = name.rfind('/') + 1
        first, last = name.find('.', begin), name.rfind('.', begin)
        key, stem = (name[:first], name[:last]) if first >= 0 else (name, name)
        kind = name[last:].lower() if last >= 0 else ''
        if place is None:
            self.left_out[f'{kind} links'] += 1
        elif kind == '.cls':
            file.seek(place[0])
            text = file.read(place[1])
            if stem in self.single:
                self._label(self.single[stem], name, text)
            else:
                self.labels[stem] = name, text
        elif kind not in IMAGES:
            if key not in self.single:
                self.others[key].append((stem, kind, None))
        elif key in self.single:
            self._leave_out(name[first:].lower(), key)
        else:
            row = len(self.extensions)
            self.rows.extend((*place, -1))
            if first < last:
                self.extensions.append(name[first:].lower())
                self.others[key].append((stem, self.extensions[row], row))
            else:
                self.extensions.append(IMAGES[kind])
                self.single[key] = row
                self._settle(key, row)

    def found(self) -> tuple[np.ndarray, Counter]:
        """What :func:`scan_tar` returns, when all files are added."""
        for key, others in self.others.items():
            images = {stem for stem, _, row in others if row is not None}
            for stem, extension, row in others:
                label = self.labels.get(stem) or self.labels.get(key)
                if row is not None and label:
                    self._label(row, *label)
                elif row is None and stem not in images and not (images and stem == key):
                    self.left_out[extension] += 1
        rows = np.array(self.rows, dtype=np.int64).reshape(-1, COLUMNS)
        return np.delete(rows, self.beside, axis=0) if self.beside else rows, self.left_out

    def _settle(self, key: str, row: int) -> None:
        """The sample has its image: nothing that came before it is needed any more."""
        for _, extension, other in self.others.pop(key, ()):
            if other is not None:
                self._leave_out(extension, key)
                self.beside.append(other)
        if key in self.labels:
            self._label(row, *self.labels.pop(key))

    def _leave_out(self, extension: str, key: str) -> None:
        self.left_out[f'{extension} beside {self.extensions[self.single[key]]}'] += 1

    def _label(self, row: int, name: str, text: bytes) -> None:
        self.rows[COLUMNS * row + COLUMNS - 1] = _number(self.path, name, text)


def _members(path: str | os.PathLike) -> Iterator[tuple[str, tuple[int, int] | None, IO[bytes]]]:
    """Name, place and the tar itself for all files, without folders and names that begin with a dot."""
    number, places = 0, None
    try:
        with tarfile.open(path, 'r:') as tar:
            while (info := tar.next()) is not None:
                tar.members = []  # tarfile would keep them all
                name = info.name
                place = (info.offset_data, info.size) if info.isfile() else None
                if info.islnk():
                    places = _places(path, info.offset) if places is None else places
                    place = places.get(info.linkname)
                if places is not None:
                    places[name] = place
                begin = name.rfind('/') + 1
                if not info.isdir() and name[begin : begin + 1] not in ('', '.'):
                    number += 1
                    yield name, place, tar.fileobj
            tar.fileobj.seek(tar.offset)
            end = tar.fileobj.read(tarfile.BLOCKSIZE)
    except tarfile.TarError as error:
        raise ValueError(
            printable(f'viewplug.TarShards: {path} is no uncompressed tar file ({error}); pack it anew')
        ) from error
    if end != bytes(tarfile.BLOCKSIZE):
        raise ValueError(
            printable(
                f'viewplug.TarShards: {path} breaks off after {number} files: the zeros that end a tar are not '
                'there; copy or pack it anew (if it is whole all the same, truncate -s +1024 adds them)'
            )
        )


def _places(path: str | os.PathLike, end: int) -> dict[str, tuple[int, int] | None]:
    """Of the files before the first hard link, which few tars have: the others need not keep all names."""
    places = {}
    with tarfile.open(path, 'r:') as tar:
        while (info := tar.next()) is not None and info.offset < end:
            tar.members = []
            places[info.name] = (info.offset_data, info.size) if info.isfile() else None
    return places


def _number(path: str | os.PathLike, name: str, text: bytes) -> int:
    try:
        return int(text)
    except ValueError:
        raise ValueError(
            printable(f'viewplug.TarShards: {name} in {path} must hold a class number, got {text[:40]!r}')
        ) from None
