"""Where the images of a tar file begin and end."""

from __future__ import annotations

import os
import tarfile
import tempfile
from pathlib import Path

import numpy as np

EXTENSIONS = ('jpg', 'jpeg', 'png', 'bmp', 'ppm', 'webp')
COLUMNS = 3
ROW_BYTES = 8 * COLUMNS
# Nanoseconds by which file systems round times.
CLOCK = 2_000_000_000


def scan_tar(path: str | os.PathLike) -> np.ndarray:
    """A row for each image of an uncompressed tar, in the order of the file: offset, bytes, label.

    Members whose names agree up to the first dot are one sample, as webdataset has it: ``a/0001.jpg`` is its image,
    ``a/0001.cls`` (a number) its label, -1 if there is none. Samples without an image, and names that begin with a
    dot, are left out. Headers are read and what lies between is skipped.

    Returns:
        (n, 3) int64.

    Raises:
        ValueError: the file is no uncompressed tar, or a ``.cls`` is no number.
    """
    rows, images, labels = [], {}, {}
    try:
        with tarfile.open(path, 'r:') as tar:
            for member in tar:
                tar.members = []  # tarfile would keep them all
                folder, name = os.path.split(member.name)
                stem, _, extension = name.partition('.')
                key = f'{folder}/{stem}'
                if not member.isfile() or not stem:
                    continue
                if extension.lower() in EXTENSIONS and key not in images:
                    images[key] = len(rows)
                    rows.append([member.offset_data, member.size, -1])
                elif extension.lower() == 'cls':
                    labels[key] = _number(path, member.name, tar.extractfile(member).read())
    except tarfile.TarError as error:
        raise ValueError(f'viewplug.TarShards: {path} is no uncompressed tar file ({error}); pack it anew') from error
    for key, label in labels.items():
        if key in images:
            rows[images[key]][2] = label
    return np.array(rows, dtype=np.int64).reshape(-1, COLUMNS)


def write_index(tar: str | os.PathLike, index: str | os.PathLike) -> None:
    """Keep :func:`scan_tar` in a file, 24 bytes an image, replaced as a whole: processes may do it at once.

    The file takes over the tar's time, by which :func:`count_images` knows that they belong together.

    Raises:
        ValueError: as :func:`scan_tar`.
        OSError: the folder cannot be written.
    """
    time = os.stat(tar).st_mtime_ns
    rows = scan_tar(tar)
    Path(index).parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=os.path.dirname(os.path.abspath(index)), prefix='.viewplug_index_')
    try:
        with os.fdopen(handle, 'wb') as file:
            rows.tofile(file)
        os.chmod(temporary, 0o644)  # others train on the same shards
        os.utime(temporary, ns=(time, time))
        os.replace(temporary, index)
    except BaseException:
        os.unlink(temporary)
        raise


def read_index(index: str | os.PathLike) -> np.ndarray:
    """(n, 3) int64 of a file of :func:`write_index`."""
    return np.fromfile(index, np.int64).reshape(-1, COLUMNS)


def count_images(tar: str | os.PathLike, index: str | os.PathLike) -> int | None:
    """How many images an index has, without opening it; None if it is missing or its tar is another one by now."""
    try:
        status = os.stat(index)
    except (FileNotFoundError, NotADirectoryError):
        return None
    same = abs(status.st_mtime_ns - os.stat(tar).st_mtime_ns) < CLOCK
    return status.st_size // ROW_BYTES if same else None


def _number(path: str | os.PathLike, name: str, text: bytes) -> int:
    try:
        return int(text)
    except ValueError:
        raise ValueError(f'viewplug.TarShards: {name} in {path} must hold a class number, got {text[:40]!r}') from None
