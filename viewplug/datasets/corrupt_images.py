"""Images that cannot be read: telling them, remembering them, and the error when there are too many."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import BinaryIO

import numpy as np
import torch
from mmcv.transforms import LoadImageFromFile
from PIL import Image

from viewplug.config.training_data import UserError
from viewplug.datasets.pixel_depth import bits_per_channel

NO_IMAGE = 'truncated, or not an image'
TOO_DEEP = 'more than 16 bits a channel, or floating point, which has no place in 8 bits: convert it'


class CorruptImagesError(UserError, RuntimeError):
    """Images that cannot be read. Its text stays one sentence on its way out of a worker process.

    torch's DataLoader rebuilds a worker's error from the printed traceback; what stands before the sentence is dropped.
    """

    def __init__(self, text: str):
        super().__init__(text.rsplit(f'{type(self).__name__}: ', 1)[-1].strip())


class CorruptRecord:
    """Which of ``size`` images could not be read: one byte each, in memory shared with all worker processes.

    It keeps working in workers that are forked, spawned or persistent; a deep copy is a record of its own.
    """

    def __init__(self, size: int):
        self.flags = torch.zeros(max(size, 1), dtype=torch.uint8).share_memory_()

    def add(self, idx: int) -> bool:
        """Whether the image was new."""
        new = not self.flags[idx].item()
        self.flags[idx] = 1
        return new

    def count(self) -> int:
        return int(self.flags.count_nonzero())

    def indices(self) -> list[int]:
        return self.flags.nonzero().flatten().tolist()

    def __deepcopy__(self, memo: dict) -> CorruptRecord:
        copied = CorruptRecord(len(self.flags))
        copied.flags.copy_(self.flags)
        return copied

    def __setstate__(self, state: dict) -> None:
        # What torch.multiprocessing sends is shared already, what plain pickle made is not.
        self.flags = state['flags'].share_memory_()


def check_limit(max_corrupt: int | float | None) -> None:
    """Raises ValueError where ``max_corrupt`` is neither a number of files nor a fraction."""
    if max_corrupt is None:
        return
    good = isinstance(max_corrupt, int) and not isinstance(max_corrupt, bool) and max_corrupt >= 0
    if not good and not (isinstance(max_corrupt, float) and 0 <= max_corrupt <= 1):
        raise ValueError(
            f'viewplug.ImageFolder: max_corrupt must be a number of files (int >= 0), a fraction (float in [0, 1]) or '
            f'None, got {max_corrupt!r}'
        )


class Unreadable(Exception):
    """The loader could not read the image; the text says why."""


def load_checked(loader: LoadImageFromFile, results: dict, remark: Callable[[str], None] = print) -> dict:
    """The loader's results, or :class:`Unreadable` where the file is no whole image of up to 16 bits a channel.

    ``remark`` is called with a sentence where the file was read and is odd all the same.
    """
    path = results['img_path']
    try:
        loaded = loader(results)
    except MemoryError:
        raise
    except Exception as error:  # cv2.error, OSError, AssertionError ...: every decoder has its own
        if os.path.isfile(path) and os.path.getsize(path) == 0:
            raise Unreadable('the file is empty') from error
        if isinstance(error, AssertionError):  # mmcv's way to say that OpenCV returned None
            raise undecoded(path) from error
        raise Unreadable(f'{type(error).__name__}: {" ".join(str(error).split())[:200]}') from error
    if loaded is None:  # ignore_empty=True
        raise undecoded(path)
    if '://' not in path:
        with open(path, 'rb') as file:
            to_8_bits = loader.color_type != 'unchanged' and loader.imdecode_backend != 'tifffile'
            check_content(file, loaded['img'] if to_8_bits else None, lambda text: remark(f'{path} {text}'))
    return loaded


def undecoded(file: str | BinaryIO) -> Unreadable:
    """Why a decoder makes no image of a file, or of what is at a path: OpenCV returns None and no reason."""
    if isinstance(file, str):
        if not os.path.isfile(file):
            return Unreadable(NO_IMAGE)
        with open(file, 'rb') as opened:
            return undecoded(opened)
    return Unreadable(TOO_DEEP if bits_per_channel(file) > 16 else NO_IMAGE)


def check_content(file: BinaryIO, image: np.ndarray | None, remark: Callable[[str], None]) -> None:
    """Look in the file of a decoded image for what decoders let pass; without ``image`` its depth does not count.

    Raises:
        Unreadable: The image is not whole, or its values have no place in 8 bits.
    """
    if _lacks_jpeg_end(file):
        try:
            with Image.open(file) as opened:
                opened.load()
        except Exception as error:
            raise Unreadable(f'the JPEG has no end marker, and Pillow says: {error}') from error
    bits = 8 if image is None else bits_per_channel(file)
    if bits > 16:
        raise Unreadable(TOO_DEEP)
    if bits == 16 and 0 < image.max() <= 16:  # some decoders round up
        remark(
            'is nearly black: 16 bits a channel are divided by 256, and this image uses 12 or fewer of them; where all '
            'do, stretch them to 16 (said once)'
        )


def _lacks_jpeg_end(file: BinaryIO) -> bool:
    """Whether the file begins like a JPEG and does not end like one (good files may: some tools append bytes)."""
    if file.read(2) != b'\xff\xd8':
        return False
    file.seek(-2, os.SEEK_END)
    end = file.read(2)
    file.seek(0)
    return end != b'\xff\xd9'
