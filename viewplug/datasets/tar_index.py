"""What :func:`scan_tar` found in a tar file, in a small file beside it."""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
import zlib
from collections import Counter
from pathlib import Path
from typing import NamedTuple

import numpy as np

from viewplug.datasets.tar_scan import COLUMNS, scan_tar

FORMAT = 2  # Another number where scan_tar finds other rows in the same tar: index files are then made anew.
ROW_BYTES = 8 * COLUMNS
HEADER_BYTES = 20 * ROW_BYTES
# Nanoseconds by which file systems round times, and what rounded times are multiples of.
CLOCK, ROUNDED = 2_000_000_000, 100
# Tars are padded to 10 KiB, and some storage has no times, so four pieces of a tar are compared too.
SAMPLES, SAMPLE_BYTES = 4, 16_384


class TarSummary(NamedTuple):
    """How many images a tar has, and how many files were left out by extension."""

    images: int
    left_out: Counter


def write_index(tar: str | os.PathLike, index: str | os.PathLike) -> None:
    """Keep :func:`scan_tar` in a file, 24 bytes an image, replaced as a whole: processes may do it at once.

    It begins with a line of JSON, in which stand size, time and a sample of the tar, and takes over the tar's time: by
    those :func:`summarise` knows that they belong together.

    Raises:
        ValueError: as :func:`scan_tar`.
        OSError: the folder cannot be written.
    """
    status, sample = os.stat(tar), _sample(tar)
    rows, left_out = scan_tar(tar)
    Path(index).parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=os.path.dirname(os.path.abspath(index)), prefix='.viewplug_index_')
    try:
        with os.fdopen(handle, 'wb') as file:
            file.write(_header(status, sample, len(rows), left_out))
            file.write(rows.tobytes())
        os.chmod(temporary, 0o644)  # others train on the same shards
        with contextlib.suppress(OSError):  # some storage takes no times
            os.utime(temporary, ns=(status.st_mtime_ns,) * 2)
        os.replace(temporary, index)
    except BaseException:
        os.unlink(temporary)
        raise


def read_index(index: str | os.PathLike) -> np.ndarray:
    """(n, 3) int64 of a file of :func:`write_index`."""
    return np.fromfile(index, np.int64, offset=HEADER_BYTES).reshape(-1, COLUMNS)


def summarise(tar: str | os.PathLike, index: str | os.PathLike) -> TarSummary | None:
    """What an index says; None if it is missing, of another format, or its tar is another one by now.

    Size and sample must be the tar's, and so must the time, or else the index was copied: then it has a time of its
    own, and the tar must not be newer than that. Neither inode nor change time is compared, so that machines that mount
    both files agree. A tar that was replaced by one of the same size and sample is not noticed if its time is the same
    too, or is older than that of an index that was copied.
    """
    header = _read_header(index)
    if header is None:
        return None
    of_tar, of_index = os.stat(tar), os.stat(index)
    if of_index.st_size - HEADER_BYTES != header['images'] * ROW_BYTES or of_tar.st_size != header['tar_bytes']:
        return None
    now, noted, own = of_tar.st_mtime_ns, header['tar_mtime_ns'], of_index.st_mtime_ns
    copied = not _same_time(own, noted) and now < own + CLOCK
    if not (copied or _same_time(now, noted)) or header['tar_sample'] != _sample(tar):
        return None
    return TarSummary(header['images'], Counter(header['left_out']))


def is_of_another_format(index: str | os.PathLike) -> bool:
    """An index is there, but another version of viewplug made it, or it broke off in its first line."""
    return os.path.isfile(index) and _read_header(index) is None


def _read_header(index: str | os.PathLike) -> dict | None:
    try:
        with open(index, 'rb') as file:
            header = json.loads(file.read(HEADER_BYTES))
    except (FileNotFoundError, NotADirectoryError, ValueError):  # ValueError: no JSON
        return None
    return header if isinstance(header, dict) and header.get('format') == FORMAT else None


def _header(status: os.stat_result, sample: int, images: int, left_out: Counter) -> bytes:
    for kinds in range(8, -1, -1):  # as many as there is room for
        kept = dict(left_out.most_common(kinds))
        rest = sum(left_out.values()) - sum(kept.values())
        header = dict(
            format=FORMAT,
            images=images,
            tar_bytes=status.st_size,
            tar_mtime_ns=status.st_mtime_ns,
            tar_sample=sample,
            left_out=kept | ({'others': rest} if rest else {}),
        )
        line = json.dumps(header).encode()
        if len(line) < HEADER_BYTES:
            break
    return line.ljust(HEADER_BYTES - 1) + b'\n'


def _same_time(one: int, other: int) -> bool:
    """Exactly, unless a file system or a copy rounded one of them."""
    rounded = one % ROUNDED == 0 or other % ROUNDED == 0
    return one == other or (rounded and abs(one - other) < CLOCK)


def _sample(tar: str | os.PathLike) -> int:
    """A checksum of the beginning, the end and what is evenly between them; of all bytes if the tar is small."""
    checksum = 0
    with open(tar, 'rb', buffering=0) as file:
        last = max(os.fstat(file.fileno()).st_size - SAMPLE_BYTES, 0)
        for place in range(SAMPLES):
            checksum = zlib.crc32(os.pread(file.fileno(), SAMPLE_BYTES, last * place // (SAMPLES - 1)), checksum)
    return checksum
