"""Where the images of a tar file begin and end, and which of its files are none."""

from __future__ import annotations

import os
import tarfile
from collections import Counter
from typing import NamedTuple

import numpy as np

from viewplug.datasets.image_files import EXTENSIONS, printable

COLUMNS = 3


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
    members, labels = _read(path)
    images = [member for member in members if member.place and member.last in EXTENSIONS]
    single = {}
    for image in images:
        if image.extension == image.last:
            single.setdefault(image.key, image)
    rows, left_out = [], Counter()
    for image in images:
        best = single.get(image.key, image)
        if best is image:
            name, text = labels.get(image.stem) or labels.get(image.key) or ('', b'-1')
            rows.append([*image.place, _number(path, name, text)])
        else:
            left_out[f'{image.extension} beside {best.extension}'] += 1
    known = {image.stem for image in images} | {image.key for image in images}
    for member in members:
        if not member.place:
            left_out[f'{member.last} links'] += 1
        elif member.last not in (*EXTENSIONS, '.cls') and member.stem not in known and member.key not in single:
            left_out[member.last] += 1
    return np.array(rows, dtype=np.int64).reshape(-1, COLUMNS), left_out


class _Member(NamedTuple):
    """A file of a tar: offset and bytes, or None for a link to what the tar does not hold."""

    name: str
    place: tuple[int, int] | None

    @property
    def key(self) -> str:
        folder, name = os.path.split(self.name)
        return f'{folder}/{name.partition(".")[0]}'

    @property
    def stem(self) -> str:
        folder, name = os.path.split(self.name)
        return f'{folder}/{os.path.splitext(name)[0]}'

    @property
    def last(self) -> str:
        return os.path.splitext(self.name)[1].lower()

    @property
    def extension(self) -> str:
        return ''.join(os.path.basename(self.name).partition('.')[1:]).lower()


def _read(path: str | os.PathLike) -> tuple[list[_Member], dict[str, tuple[str, bytes]]]:
    """All files, and what stands in the labels, by their names without '.cls'."""
    members, labels, places = [], {}, {}
    try:
        with tarfile.open(path, 'r:') as tar:
            for info in tar:
                tar.members = []  # tarfile would keep them all
                place = (info.offset_data, info.size) if info.isfile() else None
                if info.islnk():
                    place = places.get(info.linkname)
                places[info.name] = place
                if info.isdir() or os.path.basename(info.name)[:1] in ('', '.'):
                    continue
                members.append(member := _Member(info.name, place))
                if member.last == '.cls' and place:
                    tar.fileobj.seek(place[0])
                    labels[member.stem] = info.name, tar.fileobj.read(place[1])
            tar.fileobj.seek(tar.offset)
            end = tar.fileobj.read(tarfile.BLOCKSIZE)
    except tarfile.TarError as error:
        raise ValueError(
            printable(f'viewplug.TarShards: {path} is no uncompressed tar file ({error}); pack it anew')
        ) from error
    if end != bytes(tarfile.BLOCKSIZE):
        raise ValueError(
            printable(
                f'viewplug.TarShards: {path} breaks off after {len(members)} files: the zeros that end a tar are not '
                'there; copy or pack it anew (if it is whole all the same, truncate -s +1024 adds them)'
            )
        )
    return members, labels


def _number(path: str | os.PathLike, name: str, text: bytes) -> int:
    try:
        return int(text)
    except ValueError:
        raise ValueError(
            printable(f'viewplug.TarShards: {name} in {path} must hold a class number, got {text[:40]!r}')
        ) from None
