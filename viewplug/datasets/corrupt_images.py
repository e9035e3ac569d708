"""Images that cannot be read: telling them, remembering them, and the error when there are too many."""

import os

import torch
from mmcv.transforms import LoadImageFromFile
from PIL import Image


class CorruptImagesError(RuntimeError):
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

    def __deepcopy__(self, memo: dict) -> 'CorruptRecord':
        copied = CorruptRecord(len(self.flags))
        copied.flags.copy_(self.flags)
        return copied

    def __setstate__(self, state: dict) -> None:
        # What torch.multiprocessing sends is shared already, what plain pickle made is not.
        self.flags = state['flags'].share_memory_()


class Unreadable(Exception):
    """The loader could not read the image; the text says why."""


def load_checked(loader: LoadImageFromFile, results: dict) -> dict:
    """The loader's results, or :class:`Unreadable` where the file is no whole image."""
    path = results['img_path']
    try:
        loaded = loader(results)
    except MemoryError:
        raise
    except Exception as error:  # cv2.error, OSError, AssertionError ...: every decoder has its own
        if os.path.isfile(path) and os.path.getsize(path) == 0:
            raise Unreadable('the file is empty') from error
        if isinstance(error, AssertionError):  # mmcv's way to say that OpenCV returned None
            raise Unreadable('truncated, or not an image') from error
        raise Unreadable(f'{type(error).__name__}: {" ".join(str(error).split())[:200]}') from error
    if loaded is None:  # ignore_empty=True
        raise Unreadable('truncated, or not an image')
    if '://' not in path and _lacks_jpeg_end(path):
        try:
            with Image.open(path) as image:
                image.load()
        except Exception as error:
            raise Unreadable(f'the JPEG has no end marker, and Pillow says: {error}') from error
    return loaded


def _lacks_jpeg_end(path: str) -> bool:
    """Whether the file begins like a JPEG and does not end like one (good files may: some tools append bytes)."""
    with open(path, 'rb') as file:
        if file.read(2) != b'\xff\xd8':
            return False
        file.seek(-2, os.SEEK_END)
        return file.read(2) != b'\xff\xd9'
