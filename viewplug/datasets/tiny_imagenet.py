"""Tiny ImageNet as it is distributed."""

from __future__ import annotations

import os

from mmpretrain.datasets import BaseDataset

from viewplug.datasets.archive import ensure_files
from viewplug.registry import DATASETS


@DATASETS.register_module()
class TinyImageNet(BaseDataset):
    """Tiny ImageNet: 200 classes of ImageNet at 64 x 64, 500 training and 50 validation images each.

    The training images lie in ``train/<wnid>/images/``, but all validation images in one folder, ``val/images/``, and
    their classes in ``val/val_annotations.txt`` (file, wnid, box; separated by tabs): a reader of class folders finds
    one class there. ``test/`` has no labels and is not read. A sample has ``img_path``, ``gt_label`` (the place of its
    wnid among the sorted ones) and ``sample_idx``; some JPEGs are grey, which ``LoadImageFromFile`` turns into three
    channels.

    Args:
        data_root: the folder that holds ``tiny-imagenet-200/`` (or that folder itself). It is downloaded there (240 MB)
            if missing.
        split: 'train' or 'val'.
        download: whether to download missing files.
        **kwargs: ``pipeline``, ``indices``, ``lazy_init``, ``metainfo``, ... of mmpretrain's ``BaseDataset``.

    Raises:
        ValueError: ``split`` is unknown, or a file of the data set says what cannot be.
        FileNotFoundError: the files are neither there nor could they be downloaded.
    """

    url = 'http://cs231n.stanford.edu/tiny-imagenet-200.zip'
    md5 = '90528d7ca1a48142e341f4ef8d21d0de'
    folder = 'tiny-imagenet-200'

    def __init__(
        self, data_root: str | os.PathLike = 'data', split: str = 'train', download: bool = True, **kwargs
    ) -> None:
        if split not in ('train', 'val'):
            raise ValueError(
                f"viewplug.TinyImageNet: split must be 'train' or 'val' (test has no labels), got {split!r}"
            )
        self.split = split
        self.download = download
        super().__init__(ann_file='', data_root=os.path.expanduser(data_root), **kwargs)

    def load_data_list(self) -> list[dict]:
        ensure_files('viewplug.TinyImageNet', self.data_root, self._missing, self.url, self.md5, self.download)
        with open(self._path('wnids.txt'), encoding='ascii') as file:
            wnids = sorted(line.strip() for line in file if line.strip())
        self._metainfo.setdefault('classes', tuple(wnids))
        label = {wnid: index for index, wnid in enumerate(wnids)}
        return self._train(label) if self.split == 'train' else self._val(label)

    def _train(self, label: dict[str, int]) -> list[dict]:
        samples = []
        for wnid in label:
            folder = self._path(f'train/{wnid}/images')
            if not os.path.isdir(folder):
                raise ValueError(f'viewplug.TinyImageNet: wnids.txt names {wnid}, but there is no {folder}')
            names = sorted(name for name in os.listdir(folder) if name.endswith('.JPEG'))
            samples += [dict(img_path=os.path.join(folder, name), gt_label=label[wnid]) for name in names]
        return samples

    def _val(self, label: dict[str, int]) -> list[dict]:
        path = self._path('val/val_annotations.txt')
        samples = []
        with open(path, encoding='ascii') as file:
            for number, line in enumerate(file, 1):
                fields = line.rstrip('\n').split('\t')
                if len(fields) < 2 or fields[1] not in label:
                    raise ValueError(
                        f'viewplug.TinyImageNet: {path}, line {number} names no class of wnids.txt: {line!r}'
                    )
                samples.append(dict(img_path=self._path(f'val/images/{fields[0]}'), gt_label=label[fields[1]]))
        return samples

    def _missing(self) -> list[str]:
        needed = ['wnids.txt', 'train'] if self.split == 'train' else ['wnids.txt', 'val/val_annotations.txt']
        return [path for path in map(self._path, needed) if not os.path.exists(path)]

    def _path(self, name: str) -> str:
        direct = os.path.isfile(os.path.join(self.data_root, 'wnids.txt'))
        return os.path.join(self.data_root, *([] if direct else [self.folder]), name)
