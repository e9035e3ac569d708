"""Which images a data set holds, and in which order, as a short text for a checkpoint."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from numbers import Number

import numpy as np
from mmengine.dataset import BaseDataset
from torch import Tensor

from viewplug.datasets.shape_scenes import ShapeScenes
from viewplug.datasets.tar_shards import TarShards

MOST = 4096
"""Images that are looked at."""
RENDERED = 8
"""Scenes of a ShapeScenes that are rendered."""
TEXT = (str, os.PathLike)


def image_fingerprint(leaf: BaseDataset) -> str:
    """32 hex digits that change if image ``i`` of a data set without wrappers becomes another one.

    Of every data set its length counts, and

    - where images are files, ``img_path`` below the folder that all of them share: a folder that is moved or renamed,
      or seen from another machine, stays the same. A file's content does not count: resized copies keep their boxes,
      and so does another image under the old name;
    - of ``viewplug.TarShards`` the shards' names, likewise, their sizes in bytes and numbers of images;
    - of ``viewplug.ShapeScenes`` the scenes' numbers and the pixels of a few, on which every setting acts;
    - of others whatever numbers, texts and arrays (CIFAR's pixels, STL-10's rows) its list of images holds, but no
      labels (``gt_...``); of one that keeps no list nothing but the length.

    At most 4096 images are looked at, evenly spaced, the first and the last among them, which takes some hundredths of
    a second however many there are. In a larger data set a change that moves fewer images than lie between two of those
    (312 of ImageNet) may pass unseen: a file replaced by one that sorts near it. One more or one less never does.
    """
    number = len(leaf)
    digest = hashlib.sha256(str(number).encode())
    for name, values in _columns(leaf, _spaced(number, MOST)).items():
        contents = _contents(values)
        if any(contents):
            digest.update(b'\n'.join([name.encode(), *contents, b'']))
    return digest.hexdigest()[:32]


def paths_below_common_folder(paths: Sequence[str | os.PathLike]) -> list[str]:
    """Paths or URLs without the folders in which all of them lie, with forward slashes."""
    parts = [os.fspath(path).replace('\\', '/').split('/') for path in paths]
    depth = len(os.path.commonprefix([part[:-1] for part in parts]))
    return ['/'.join(part[depth:]) for part in parts]


def _columns(leaf: BaseDataset, places: list[int]) -> dict[str, list]:
    """What tells the images at some places of a data set apart, by name."""
    if isinstance(leaf, TarShards):  # its get_data_info opens the shards
        sizes = [os.path.getsize(path) for path in leaf.paths]
        return dict(shards=leaf.paths, sizes=sizes, starts=leaf.shard_starts.tolist())
    infos = _infos(leaf, places)
    names = sorted({name for info in infos for name in info if name != 'sample_idx' and not name.startswith('gt_')})
    if 'img_path' in names:
        names = ['img_path']
    columns = {name: [info.get(name) for info in infos] for name in names}
    if isinstance(leaf, ShapeScenes):
        columns['scenes'] = [leaf.render(infos[place]['img_id']).image for place in _spaced(len(infos), RENDERED)]
    return columns


def _infos(leaf: BaseDataset, places: list[int]) -> list[dict]:
    if not isinstance(leaf, BaseDataset):
        return []
    try:
        # BaseDataset's own, because those of data sets (STL10's) may read the image.
        found = [BaseDataset.get_data_info(leaf, place) for place in places]
    except (
        AttributeError,
        IndexError,
        TypeError,
    ):  # no list, or none of dicts: the data set has overridden its readers
        return []
    return found if all(isinstance(info, dict) and all(map(_is_text, info)) for info in found) else []


def _is_text(name) -> bool:
    return isinstance(name, str)


def _contents(values: list) -> list[bytes]:
    texts = iter(paths_below_common_folder([value for value in values if isinstance(value, TEXT)]))
    # Names that are no valid text can be written in no other way.
    return [
        next(texts).encode('utf-8', 'backslashreplace') if isinstance(value, TEXT) else _content(value)
        for value in values
    ]


def _content(value) -> bytes:
    """Empty for what has no text that is the same in every process."""
    if isinstance(value, (np.ndarray, np.generic, Tensor)):
        array = np.asarray(value)
        return hashlib.sha256(f'{array.dtype}{array.shape}'.encode() + array.tobytes()).hexdigest().encode()
    return str(value).encode() if isinstance(value, Number) else b''


def _spaced(number: int, most: int) -> list[int]:
    """At most ``most`` of the numbers below ``number``, the first and the last among them."""
    return list(range(number)) if number <= most else [place * (number - 1) // (most - 1) for place in range(most)]
