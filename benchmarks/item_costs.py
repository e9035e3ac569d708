"""Seconds and bytes of single things that grow with the data: a box, a key, a heat map, an image's name, its file.

    python -m benchmarks.item_costs

One thread, the least of several times (what else the machine does only adds); files are in the page cache, so that
their numbers are what the processor does.
"""

from __future__ import annotations

import io
import itertools
import os
import pickle
import tarfile
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import torch
from mmengine import Config
from mmengine.registry import DefaultScope

from viewplug.box_store import BoxStore
from viewplug.datasets import ImageFolder, ShardSampler, TarShards
from viewplug.datasets.tar_index import scan_tar
from viewplug.heads import QueueHead
from viewplug.ops.heatmap_boxes import localise
from viewplug.registry import TRANSFORMS

ROOT = Path(__file__).resolve().parents[1]
MILLION = 1_000_000
HEIGHT, WIDTH = 375, 500  # ImageNet's commonest


def item_costs(repeats: int = 5) -> list[dict]:
    """Rows of what, microseconds, bytes; None where one means nothing."""
    rows: list[dict] = []

    def add(what: str, seconds: float | None = None, size: float | None = None) -> None:
        rows.append(dict(what=what, microseconds=None if seconds is None else seconds * 1e6, bytes=size))

    with tempfile.TemporaryDirectory() as folder:
        _boxes(add, Path(folder), repeats)
        _files(add, Path(folder), repeats)
    _steps(add, repeats)
    _lists(add, repeats)
    return rows


def _boxes(add: Callable, folder: Path, repeats: int) -> None:
    boxes = np.random.rand(MILLION, 4).astype(np.float32)
    store = BoxStore(folder / 'boxes.npy')
    write = least_seconds(lambda: store.write(boxes), repeats)
    add('box, written (BoxStore.write of a million)', write / MILLION, os.path.getsize(store.path) / MILLION)
    reader = BoxStore(store.path)
    own, shared = resident('RssAnon'), resident('RssFile')
    reader.rows(np.arange(0, MILLION, 64))  # every page
    add('box, mapped: own memory of a reader', None, max(resident('RssAnon') - own, 0) / MILLION)
    add('box, mapped: memory shared by all readers', None, (resident('RssFile') - shared) / MILLION)
    order = np.random.permutation(MILLION)[:2000]
    add('box, read one at a time', least_seconds(lambda: [store.read(i) for i in order], repeats) / len(order))
    parts = np.array_split(np.random.permutation(MILLION)[:25_600], 100)
    add('box, read 256 at a time', least_seconds(lambda: [store.rows(part) for part in parts], repeats) / 25_600)
    path = folder / 'checkpoint.pth'
    saved = least_seconds(lambda: torch.save(torch.from_numpy(boxes), path), repeats)
    add('box, in a checkpoint (torch.save)', saved / MILLION, path.stat().st_size / MILLION)


def _files(add: Callable, folder: Path, repeats: int, number: int = 500) -> None:
    """The same JPEGs as files and in a tar."""
    noise = np.random.RandomState(0).rand(24, 32, 3).astype(np.float32)
    smooth = cv2.resize(noise, (WIDTH, HEIGHT), interpolation=cv2.INTER_CUBIC) * 200
    image = (smooth + np.random.RandomState(1).rand(HEIGHT, WIDTH, 3) * 55).clip(0, 255).astype(np.uint8)
    content = cv2.imencode('.jpg', image, [cv2.IMWRITE_JPEG_QUALITY, 90])[1].tobytes()
    (folder / 'images').mkdir()
    with tarfile.open(folder / 'shard.tar', 'w') as tar:
        for i in range(number):
            (folder / 'images' / f'{i:06d}.jpg').write_bytes(content)
            info = tarfile.TarInfo(f'{i:06d}.jpg')
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    pixels = np.frombuffer(content, np.uint8)
    cv2.setNumThreads(0)
    decode = least_seconds(lambda: cv2.imdecode(pixels, cv2.IMREAD_COLOR), 20 * repeats)
    add(f'JPEG {WIDTH} x {HEIGHT}, decoded', decode, len(content))
    resize = least_seconds(lambda: cv2.resize(image, (256, 256)), 20 * repeats)
    add('image resized to 256 x 256, uint8', resize, 3 * 256**2)
    steps = Config.fromfile(ROOT / 'configs/mocov2_r50.py').train_dataloader.dataset.pipeline
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        views = TRANSFORMS.build(next(step for step in steps if step.type.endswith('MultiView')))
    # They are random: some have blur, some have not.
    spent = least_seconds(lambda: [views(dict(img=image)) for _ in range(30)], repeats) / 30
    add('two views of MoCo v2, 224 px, made from the decoded image in a worker', spent)
    load = dict(type='mmpretrain.LoadImageFromFile')
    for name, dataset in (
        ('ImageFolder: image opened, read, decoded', ImageFolder(str(folder / 'images'), pipeline=[load])),
        ('TarShards: image read, decoded', TarShards(str(folder))),
    ):
        turn = itertools.cycle(range(number))
        add(name, least_seconds(lambda dataset=dataset, turn=turn: dataset[next(turn)], 50 * repeats))
    add('TarShards: image indexed, once', least_seconds(lambda: scan_tar(folder / 'shard.tar'), repeats) / number, 24)


def _steps(add: Callable, repeats: int) -> None:
    for batch in (32, 4096):
        head = QueueHead(dict(type='InfoNCELoss'), queue_len=65536, feat_dim=128)
        keys = torch.nn.functional.normalize(torch.randn(batch, 128), dim=1)

        def enqueue(head=head, keys=keys) -> None:
            head.update([keys])
            head.flush()

        add(f'key of 128 numbers, enqueued {batch} at a time', least_seconds(enqueue, 20 * repeats) / batch, 512)
    maps = torch.rand(256, 7, 7)
    add('heat map 7 x 7 to box at 224 px', least_seconds(lambda: localise(maps, (224, 224)), repeats) / 256)


def _lists(add: Callable, repeats: int) -> None:
    names = [dict(img_path=f'data/images/{i % 1000:04d}/{i:09d}.jpg', gt_label=-1) for i in range(100_000)]
    add(
        'name of a file in a data set (serialised list)',
        None,
        sum(len(pickle.dumps(name, 2)) + 8 for name in names) / 1e5,
    )
    order = least_seconds(lambda: torch.randperm(MILLION).tolist(), repeats)
    add('DefaultSampler: index of an epoch (tensor, pointer, int)', order / MILLION, 8 + 8 + 32)

    class Shards:
        shard_starts = np.arange(0, 10**9 + 1, 10_000)
        __len__ = lambda self: 10**9  # noqa: E731

    begin = time.perf_counter()
    images = iter(ShardSampler(Shards(), seed=0))
    for _ in range(MILLION):
        next(images)
    add('ShardSampler: index of an epoch of a billion', (time.perf_counter() - begin) / MILLION)


def least_seconds(function: Callable[[], object], repeats: int) -> float:
    function()
    times = []
    for _ in range(repeats):
        begin = time.perf_counter()
        function()
        times.append(time.perf_counter() - begin)
    return min(times)


def resident(kind: str) -> int:
    """Bytes of this process's memory: 'RssAnon' is its own, 'RssFile' is shared with other processes."""
    lines = Path('/proc/self/status').read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(kind))


def table_of_items(rows: list[dict]) -> str:
    lines = ['| item | microseconds | bytes |', '|---|---|---|']
    for row in rows:
        spent, size = ('' if row[key] is None else f'{row[key]:,.4g}' for key in ('microseconds', 'bytes'))
        lines.append(f'| {row["what"]} | {spent} | {size} |')
    return '\n'.join(lines)


def main() -> None:
    torch.set_num_threads(1)
    print(table_of_items(item_costs()))


if __name__ == '__main__':
    main()
