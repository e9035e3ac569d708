"""How many bits a channel a PNG or TIFF file has, from its header."""

from __future__ import annotations

import struct
from typing import BinaryIO

BITS_PER_SAMPLE, PHOTOMETRIC, SAMPLE_FORMAT = 258, 262, 339
SHORT, FLOAT = 3, 3
LOGARITHMIC = (32844, 32845)  # LogL, LogLuv: what OpenCV makes of 32-bit floats


def bits_per_channel(file: BinaryIO) -> int:
    """Of the image at the beginning of ``file``; 8 where it is neither PNG nor TIFF, or breaks off.

    Floating point and LogLuv count as 32 bits, whatever their size: they have no largest value.
    """
    file.seek(0)
    head = file.read(26)
    if head[:8] == b'\x89PNG\r\n\x1a\n' and len(head) > 24:
        return head[24]
    if head[:4] in (b'II*\0', b'MM\0*', b'II+\0', b'MM\0+'):
        try:
            return _of_tiff(file, head)
        except (struct.error, OverflowError, OSError):
            return 8
    return 8


def _of_tiff(file: BinaryIO, head: bytes) -> int:
    order, big = '<' if head[:2] == b'II' else '>', b'+' in head[2:4]
    # BigTIFF: 8 bytes where TIFF has 4, and the number of tags too.
    start, tags, entry, inline = (8, 'Q', 'HHQ8s', 8) if big else (4, 'H', 'HHI4s', 4)

    def read(kind: str, offset: int) -> tuple:
        file.seek(offset)
        return struct.unpack(order + kind, file.read(struct.calcsize(order + kind)))

    (directory,) = read('Q' if big else 'I', start)
    (number,) = read(tags, directory)
    found = {}
    for place in range(number):
        offset = directory + struct.calcsize(order + tags) + place * struct.calcsize(order + entry)
        tag, kind, count, value = read(entry, offset)
        if tag in (BITS_PER_SAMPLE, PHOTOMETRIC, SAMPLE_FORMAT) and kind == SHORT:
            if 2 * count > inline:
                (found[tag],) = read('H', struct.unpack(order + ('Q' if big else 'I'), value)[0])
            else:
                (found[tag],) = struct.unpack(order + 'H', value[:2])
        if tag >= SAMPLE_FORMAT:  # they are sorted
            break
    floating = found.get(SAMPLE_FORMAT) == FLOAT or found.get(PHOTOMETRIC) in LOGARITHMIC
    return 32 if floating else found.get(BITS_PER_SAMPLE, 1)
