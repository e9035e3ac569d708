"""Images packed in tar files, for data sets of more images than a file system or a list of names can take."""

from __future__ import annotations

import logging
import os
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from glob import escape, glob
from io import BytesIO

import mmcv
import numpy as np
from mmengine.dist import get_dist_info, is_main_process
from mmengine.logging import print_log
from mmpretrain.datasets import BaseDataset

from viewplug.datasets.corrupt_images import CorruptRecord, Unreadable, check_content, undecoded
from viewplug.datasets.image_files import in_words, printable
from viewplug.datasets.open_shards import OpenShards
from viewplug.datasets.tar_index import TarSummary, is_of_another_format, summarise, write_index
from viewplug.registry import DATASETS

READERS = 32


@DATASETS.register_module()
class TarShards(BaseDataset):
    """Uncompressed tar files of images as webdataset packs them, read in place.

    Image ``i`` is the i-th of all shards in the order of their names: ``sample_idx`` is exact, so that boxes, kNN and
    wrappers work as on any data set. Memory is a name and a number a shard, nothing an image: where a shard's images
    begin stands in a small file (24 bytes an image) that is made beside each tar at first use, and anew when the tar
    has changed, by all ranks together, and read when the shard is opened. Reads go by offset, so workers share the
    files; with ``sampler=dict(type='viewplug.ShardSampler')`` each rank goes through whole shards one after another.

    Images are what :class:`ImageFolder` takes for them, and what belongs to none of them is counted in one line:
    :func:`viewplug.datasets.tar_scan.scan_tar` has the rules.

    A sample has ``img`` (H, W, 3) uint8, BGR, ``img_path`` (of the tar), ``sample_idx``, and ``gt_label`` where the tar
    has a ``.cls`` for it: no loading step is needed. What cannot be decoded is replaced by another image, at random,
    with a warning; with ``test_mode=True`` it is an error.

    Args:
        data_root: The folder of the shards.
        shards: Their names in it, a pattern.
        index_root: Where the index files go, a folder for this data set alone; None is beside the shards, which must be
            writable until they exist.
        max_open: Shards that a process keeps open.
        backend: mmcv's decoder, ``'cv2'``, ``'pillow'`` or ``'turbojpeg'``.
        **kwargs: ``pipeline``, ``test_mode``, ``lazy_init``, ``max_refetch``, ``metainfo``, ``classes`` of mmpretrain's
            ``BaseDataset``.

    Attributes:
        shard_starts: (S + 1,) int64, the number of the first image of each shard, and of all images.

    Raises:
        FileNotFoundError: no shard matches.
        ValueError: a shard is no uncompressed tar or breaks off, there is no image, an index cannot be written, or is
            another tar's by the time its shard is opened, or a subset is asked for.
    """

    def __init__(
        self,
        data_root: str | os.PathLike,
        shards: str = '*.tar',
        index_root: str | os.PathLike | None = None,
        max_open: int = 8,
        backend: str = 'cv2',
        **kwargs,
    ) -> None:
        if kwargs.get('indices') is not None:
            raise ValueError("viewplug.TarShards has no list to take indices from; leave shards out by 'shards'")
        self.shards, self.index_root, self.backend = shards, index_root, backend
        self._open, self._remarked = OpenShards(max_open), CorruptRecord(1)
        super().__init__(ann_file='', data_root=os.path.expanduser(data_root), **kwargs)

    def full_init(self) -> None:
        """Find the shards, and make the index files that are missing or whose tar has changed."""
        if self._fully_initialized:
            return
        self.paths = sorted(glob(os.path.join(escape(self.data_root), self.shards)))
        if not self.paths:
            raise FileNotFoundError(
                f'viewplug.TarShards: no file {os.path.join(os.path.abspath(self.data_root), self.shards)}: set '
                'data_root to the folder of the tar files, and shards to their names'
            )
        found = self._summaries(self.paths)
        missing = [path for path in self.paths if found[path] is None]
        self._make_indices(missing)
        found |= self._summaries(missing)
        changing = next((path for path in missing if found[path] is None), None)
        if changing:
            raise ValueError(
                f'viewplug.TarShards: {changing} was written while its images were counted: wait '
                'until it is finished, and start again'
            )
        self.shard_starts = np.cumsum([0, *(found[path].images for path in self.paths)])
        left_out = in_words(sum((summary.left_out for summary in found.values()), Counter()), 8)
        if not len(self):
            raise ValueError(
                f'viewplug.TarShards: no image in {len(self.paths)} tar files of {self.data_root}, which hold '
                f'{left_out or "nothing else"}: set data_root and shards to tar files of images'
            )
        if left_out and is_main_process():
            _warn(f'{len(self)} images in {len(self.paths)} tar files of {self.data_root}; left out: {left_out}')
        self._fully_initialized = True

    def __len__(self) -> int:
        if not hasattr(self, 'shard_starts'):
            self.full_init()
        return int(self.shard_starts[-1])

    def get_data_info(self, idx: int) -> dict:
        """Where image ``idx`` is: ``img_path`` of its tar, ``offset`` and ``size`` in bytes, ``gt_label`` if known."""
        if not 0 <= idx < len(self):
            raise IndexError(f'viewplug.TarShards has images 0 to {len(self) - 1}, asked for {idx}')
        shard = int(np.searchsorted(self.shard_starts, idx, side='right')) - 1
        path = self.paths[shard]
        _, rows = self._open.get(path, self._index(path))
        offset, size, label = rows[idx - self.shard_starts[shard]].tolist()
        info = dict(img_path=path, offset=offset, size=size, sample_idx=int(idx))
        return info if label < 0 else dict(info, gt_label=label)

    def prepare_data(self, idx: int) -> dict | None:
        """Image ``idx`` through the pipeline; None where it cannot be decoded."""
        info = self.get_data_info(idx)
        path, offset, size = info['img_path'], info.pop('offset'), info.pop('size')
        file, _ = self._open.get(path, self._index(path))
        try:
            content = os.pread(file.fileno(), size, offset)
            image = _decoded(content, self.backend, lambda text: self._remark(f'image {idx} in {path} {text}'))
        except Unreadable as error:
            text = f'image {idx}, {size} bytes from {offset} on in {path}, cannot be decoded ({error})'
            if self.test_mode:
                raise ValueError(
                    f'viewplug.TarShards: {text}, and test_mode=True replaces none: pack the shard anew, or remove it'
                ) from error
            _warn(f'{text}; another one takes its place')
            return None
        info.update(img=image, img_shape=image.shape[:2], ori_shape=image.shape[:2])
        return self.pipeline(info)

    def _remark(self, text: str) -> None:
        if self._remarked.add(0):
            _warn(text)

    def get_subset(self, indices):
        raise ValueError("viewplug.TarShards has no list to take a subset of; leave shards out by 'shards'")

    get_subset_ = get_subset

    def _summaries(self, paths: list[str]) -> dict[str, TarSummary | None]:
        """By path, read from many files at once: a network's storage takes its time for each."""
        with ThreadPoolExecutor(READERS) as pool:
            return dict(zip(paths, pool.map(lambda path: summarise(path, self._index(path)), paths), strict=True))

    def _make_indices(self, missing: list[str]) -> None:
        rank, world = get_dist_info()
        # Ranks begin at different places and skip what others have done meanwhile: nobody has to wait.
        first = len(missing) * rank // world
        for path in missing[first:] + missing[:first]:
            index = self._index(path)
            if summarise(path, index) is not None:
                continue
            try:
                write_index(path, index)
            except OSError as error:
                old = ', which replaces one of the format of another version' if is_of_another_format(index) else ''
                raise ValueError(
                    f'viewplug.TarShards: cannot write {index}{old} ({error}): set index_root to a folder that can be '
                    'written and that all processes see'
                ) from error

    def _index(self, path: str) -> str:
        name = f'{os.path.relpath(path, self.data_root)}.viewplug_index'
        return os.path.join(self.index_root or self.data_root, name)


def _decoded(content: bytes, backend: str, remark: Callable[[str], None]) -> np.ndarray:
    try:
        image = mmcv.imfrombytes(content, flag='color', backend=backend)
    except MemoryError:
        raise
    except Exception as error:  # every decoder has its own
        raise Unreadable(f'{type(error).__name__}: {" ".join(str(error).split())[:200]}') from error
    if image is None:
        raise undecoded(BytesIO(content))
    check_content(BytesIO(content), image, remark)
    return image


def _warn(text: str) -> None:
    # mmengine's logger shows no warning of other ranks, who read most of the shards.
    level = logging.WARNING if is_main_process() else logging.ERROR
    print_log(f'viewplug.TarShards: {printable(text)}', 'current', level)
