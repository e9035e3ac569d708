"""One box per image in a file that loader workers which are already running read."""

import contextlib
import os
import secrets
import tempfile
from multiprocessing.util import Finalize
from pathlib import Path

import numpy as np


class BoxStore:
    """An (N, 4) float32 array in a ``.npy`` file, written by one process and read by many, 16 bytes an image.

    ContrastiveCrop's boxes: x0, y0, x1, y1 as fractions of image ``i`` of one leaf data set. A write replaces the file
    as a whole, so a reader sees the old array or the new one, and it sees the new one at its next read: each read asks
    the file system (about a microsecond) whether the file has changed. Readers map the file: all workers share
    one copy of it. Pickles and copies, deep ones too, carry the path only.

    Args:
        path: The file; one that exists is used from the first read on, and it is never deleted. None: a new name in
            the folder for temporary files, deleted as the process that made it exits.
    """

    def __init__(self, path: str | os.PathLike | None = None) -> None:
        if path is None:
            name = f'viewplug_boxes_{os.getpid()}_{secrets.token_hex(8)}.npy'
            path = os.path.join(tempfile.gettempdir(), name)
            # Unlike atexit it also runs at the end of multiprocessing's processes (ranks that a launcher spawned), and
            # it does nothing in a forked child, whose file this is not.
            Finalize(None, _remove, args=(path,), exitpriority=0)
        self.path = os.path.abspath(path)
        self._mapped: tuple[tuple[int, int, int], np.ndarray] | None = None

    def write(self, boxes) -> None:
        """Replace all boxes at once.

        Args:
            boxes: (N, 4), array or tensor on any device.

        Raises:
            ValueError: another shape, or no box at all.
        """
        boxes = boxes.detach().cpu() if hasattr(boxes, 'detach') else boxes
        boxes = np.ascontiguousarray(boxes, dtype=np.float32)
        if boxes.ndim != 2 or boxes.shape[1] != 4 or len(boxes) == 0:
            raise ValueError(f'BoxStore.write: boxes must be (num_images, 4), one row an image, got {boxes.shape}.')
        self._replace(boxes)

    def clear(self) -> None:
        """As before the first write, for whoever reads; a file without boxes stays, so that all see it."""
        self._replace(np.empty((0, 4), np.float32))

    def _replace(self, boxes: np.ndarray) -> None:
        Path(self.path).parent.mkdir(parents=True, exist_ok=True)
        # In the same folder, because only a rename within a file system is atomic.
        handle, temporary = tempfile.mkstemp(dir=os.path.dirname(self.path), prefix='.viewplug_boxes_')
        try:
            with os.fdopen(handle, 'wb') as file:
                np.save(file, boxes)
            os.replace(temporary, self.path)
        except BaseException:
            os.unlink(temporary)
            raise

    def check_writable(self) -> None:
        """Say at the beginning of a run what :meth:`write` would say hours later.

        Raises:
            ValueError: no file can be made in the folder.
        """
        try:
            Path(self.path).parent.mkdir(parents=True, exist_ok=True)
            tempfile.TemporaryFile(dir=os.path.dirname(self.path)).close()
        except OSError as error:
            raise ValueError(
                f'BoxStore: {self.path} cannot be written ({error.strerror}): set the store of ContrastiveCrop, or '
                'TMPDIR where it has none, to a folder that can'
            ) from error

    def read(self, index: int) -> np.ndarray | None:
        """The box of image ``index``, (4,) float32, or None if nothing has been written yet.

        Raises:
            ValueError: there is no such box.
        """
        boxes = self._current()
        if boxes is None:
            return None
        if not 0 <= index < len(boxes):
            # Not an IndexError: iterating over a data set would take that for its end.
            raise ValueError(
                f'BoxStore: image {index} was asked for, but {self.path} holds {len(boxes)} boxes, for images 0 to '
                f'{len(boxes) - 1}: the data set has more images than boxes; write one row for each of its images.'
            )
        return np.array(boxes[index], dtype=np.float32)

    def rows(self, indices) -> np.ndarray | None:
        """The boxes of some images, (n, 4) float32, or None if nothing has been written yet.

        Raises:
            ValueError: there is no such box.
        """
        boxes, indices = self._current(), np.asarray(indices)
        if boxes is None:
            return None
        outside = (indices < 0) | (indices >= len(boxes))
        if outside.any():
            self.read(int(indices[outside][0]))  # says what is wrong
        return boxes[indices]

    def read_all(self) -> np.ndarray | None:
        """A copy of all boxes, (N, 4) float32, or None if nothing has been written yet."""
        boxes = self._current()
        return None if boxes is None else np.array(boxes, dtype=np.float32)

    def __len__(self) -> int:
        """How many boxes there are; 0 if nothing has been written yet."""
        boxes = self._current()
        return 0 if boxes is None else len(boxes)

    def __reduce__(self):
        return BoxStore, (self.path,)

    def __repr__(self) -> str:
        return f'BoxStore({self.path!r})'

    def _current(self) -> np.ndarray | None:
        try:
            version = _version(os.stat(self.path))
            if self._mapped is None or self._mapped[0] != version:
                self._mapped = _map(self.path)
        except FileNotFoundError:
            # A mapping outlives its file: cleaners of temporary folders do not take the boxes from running workers.
            pass
        return None if self._mapped is None or len(self._mapped[1]) == 0 else self._mapped[1]


def _map(path: str) -> tuple[tuple[int, int, int], np.ndarray]:
    # np.load(mmap_mode='r') opens the file by name several times and may get the header of one version and the
    # numbers of the next.
    with open(path, 'rb') as file:
        version = _version(os.fstat(file.fileno()))
        np.lib.format.read_magic(file)
        shape, fortran_order, dtype = np.lib.format.read_array_header_1_0(file)
        if len(shape) != 2 or shape[1] != 4:
            raise ValueError(f'BoxStore: {path} must hold an array (num_images, 4), got {shape}.')
        if shape[0] == 0:  # which cannot be mapped
            return version, np.empty(shape, dtype)
        order = 'F' if fortran_order else 'C'
        return version, np.memmap(file, dtype, 'r', file.tell(), shape, order).view(np.ndarray)


def _version(status: os.stat_result) -> tuple[int, int, int]:
    return status.st_ino, status.st_mtime_ns, status.st_size


def _remove(path: str) -> None:
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)
