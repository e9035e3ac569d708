"""STL-10 from its binary files."""

from __future__ import annotations

import os
from functools import lru_cache

import numpy as np
from mmpretrain.datasets import BaseDataset

from viewplug.datasets.archive import ensure_files
from viewplug.registry import DATASETS

SPLITS = dict(train=('train',), test=('test',), unlabeled=('unlabeled',))
SPLITS['train+unlabeled'] = SPLITS['train'] + SPLITS['unlabeled']
IMAGE_SHAPE = (3, 96, 96)


@DATASETS.register_module()
class STL10(BaseDataset):
    """STL-10 (Coates, Ng and Lee, AISTATS 2011): 96 x 96 images of ten classes, and many more without a label.

    Self-supervised training takes ``split='train+unlabeled'`` (105,000 images), a linear classifier ``'train'`` (5,000)
    and ``'test'`` (8,000). A sample has ``img`` (96, 96, 3) uint8, **RGB** as CIFAR's, ``gt_label`` (0 to 9, the
    files' 1 to 10; -1 without a label) and ``sample_idx``; no loading step is needed. Images are mapped from
    the files, so that workers and ranks share one copy.

    Args:
        data_root: the folder that holds ``stl10_binary/`` (or that folder itself). It is downloaded there (2.6 GB) if
            missing.
        split: 'train', 'test', 'unlabeled' or 'train+unlabeled'.
        download: whether to download missing files.
        **kwargs: ``pipeline``, ``indices``, ``lazy_init``, ``metainfo``, ... of mmpretrain's ``BaseDataset``.

    Raises:
        ValueError: ``split`` is unknown, or a file has not the size that it must have.
        FileNotFoundError: the files are neither there nor could they be downloaded.
    """

    url = 'http://ai.stanford.edu/~acoates/stl10/stl10_binary.tar.gz'
    md5 = '91f7769df0f17e558f3565bffb0c7dfb'
    folder = 'stl10_binary'
    METAINFO = dict(
        classes=('airplane', 'bird', 'car', 'cat', 'deer', 'dog', 'horse', 'monkey', 'ship', 'truck'),
    )

    def __init__(
        self, data_root: str | os.PathLike = 'data/stl10', split: str = 'train', download: bool = True, **kwargs
    ) -> None:
        if split not in SPLITS:
            raise ValueError(f'viewplug.STL10: split must be one of {", ".join(SPLITS)}, got {split!r}')
        self.split = split
        self.download = download
        super().__init__(ann_file='', data_root=os.path.expanduser(data_root), **kwargs)

    def load_data_list(self) -> list[dict]:
        """Where each image lies, and its label; no image is read."""
        ensure_files('viewplug.STL10', self.data_root, self._missing, self.url, self.md5, self.download)
        samples = []
        for part in SPLITS[self.split]:
            images = _images(self._path(f'{part}_X.bin'))
            labels = self._labels(part, len(images))
            samples += [dict(part=part, row=row, gt_label=int(label)) for row, label in enumerate(labels)]
        return samples

    def get_data_info(self, idx: int) -> dict:
        info = super().get_data_info(idx)
        # The files hold three colour planes, and each plane column after column.
        planes = _images(self._path(f'{info["part"]}_X.bin'))[info['row']]
        info['img'] = np.ascontiguousarray(planes.transpose(2, 1, 0))
        info['img_shape'] = info['ori_shape'] = info['img'].shape[:2]
        return info

    def _labels(self, part: str, number: int) -> np.ndarray:
        if part == 'unlabeled':
            return np.full(number, -1)
        path = self._path(f'{part}_y.bin')
        labels = np.fromfile(path, np.uint8).astype(int) - 1
        if len(labels) != number or labels.min(initial=0) < 0 or labels.max(initial=0) > 9:
            raise ValueError(f'viewplug.STL10: {path} does not hold {number} labels from 1 to 10; unpack it again')
        return labels

    def _missing(self) -> list[str]:
        names = [f'{part}_X.bin' for part in SPLITS[self.split]]
        names += [f'{part}_y.bin' for part in SPLITS[self.split] if part != 'unlabeled']
        return [path for path in map(self._path, names) if not os.path.isfile(path)]

    def _path(self, name: str) -> str:
        inside = os.path.join(self.data_root, self.folder, name)
        direct = os.path.join(self.data_root, name)
        return direct if os.path.isfile(direct) else inside


def _images(path: str) -> np.ndarray:
    """A file of images as an array (N, 3, 96, 96) of planes, columns, rows, mapped and not read."""
    return _mapped(path, os.path.getsize(path), os.path.getmtime(path))


@lru_cache(maxsize=8)
def _mapped(path: str, size: int, time: float) -> np.ndarray:
    # Not an attribute of the data set: a pickled or deep-copied map becomes a copy of the pixels.
    if size == 0 or size % np.prod(IMAGE_SHAPE):
        raise ValueError(f'viewplug.STL10: {path} has {size} bytes, which is no number of images; unpack it again')
    return np.memmap(path, np.uint8, 'r', shape=(size // int(np.prod(IMAGE_SHAPE)), *IMAGE_SHAPE))
