"""Tar files that are kept open for reading."""

from __future__ import annotations

import contextlib
import os
from collections import OrderedDict
from typing import BinaryIO

import numpy as np

from viewplug.datasets.tar_index import read_index, summarise


class OpenShards:
    """The last ``most`` shards that this process read: their files and rows. Copies and pickles start empty."""

    def __init__(self, most: int) -> None:
        if most < 1:
            raise ValueError(f'viewplug.TarShards: max_open must be at least 1, got {most}')
        self.most, self.found = most, OrderedDict()

    def get(self, path: str, index: str) -> tuple[BinaryIO, np.ndarray]:
        """The tar at ``path`` and the rows of its ``index``.

        Raises:
            ValueError: the index is by now that of another tar.
        """
        if path not in self.found:
            if summarise(path, index) is None:
                raise ValueError(
                    f'viewplug.TarShards: {index} no longer belongs to {path}: either the tar has changed, which takes '
                    'a new start, or another data set whose shards have the same names writes its indexes there too: '
                    'give each an index_root of its own'
                )
            file = open(path, 'rb', buffering=0)  # noqa: SIM115 (closed as it leaves the dict)
            with contextlib.suppress(AttributeError, OSError):  # not everywhere
                # Samplers read a shard whole, in an order that is mixed a little: fetch it in one sequential read.
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_WILLNEED)
            self.found[path] = file, read_index(index)
            if len(self.found) > self.most:
                self.found.popitem(last=False)
        self.found.move_to_end(path)
        return self.found[path]

    def __reduce__(self):
        return OpenShards, (self.most,)
