"""BoxStore: what one process writes, running ones read."""

import copy
import multiprocessing
import os
import pickle
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, Dataset

from viewplug.box_store import BoxStore

FORK = multiprocessing.get_context('fork')


def boxes_of(number: int, value: float = 0.5) -> np.ndarray:
    return np.full((number, 4), value, dtype=np.float32)


@pytest.fixture
def store(tmp_path):
    return BoxStore(tmp_path / 'boxes.npy')


def test_several_boxes_are_read_at_once():
    store = BoxStore()
    assert store.rows([0]) is None
    boxes = np.arange(12, dtype=np.float32).reshape(3, 4)
    store.write(boxes)
    assert np.array_equal(store.rows([2, 0, 2]), boxes[[2, 0, 2]])
    with pytest.raises(ValueError, match='image 3 was asked for'):
        store.rows([1, 3])


def test_before_the_first_write_there_is_no_box(store):
    assert store.read(0) is None and store.read_all() is None and len(store) == 0
    assert not os.path.exists(store.path)


@pytest.mark.parametrize('kind', [np.asarray, np.float64, np.asfortranarray, torch.tensor, np.ndarray.tolist])
def test_what_is_written_is_read_image_by_image_and_as_a_whole(store, kind):
    boxes = np.random.rand(7, 4).astype(np.float32)
    store.write(kind(boxes))
    assert len(store) == 7 and np.array_equal(store.read_all(), boxes)
    assert store.read_all().dtype == store.read(0).dtype == np.float32
    assert all(np.array_equal(store.read(np.int64(index)), boxes[index]) for index in range(7))


def test_a_cleared_store_is_as_before_the_first_write_for_those_that_have_read_it_too(store):
    reader = pickle.loads(pickle.dumps(store))
    store.write(np.full((3, 4), 0.5))
    assert len(reader) == 3
    store.clear()
    for one in (store, reader, BoxStore(store.path)):
        assert len(one) == 0 and one.read(0) is None and one.rows([0, 7]) is None and one.read_all() is None
    store.write(np.full((2, 4), 0.25))
    assert reader.read(1).tolist() == [0.25] * 4


def test_what_was_read_is_not_touched_by_later_writes(store):
    store.write(boxes_of(3, 0.25))
    row, everything = store.read(1), store.read_all()
    row += 1
    store.write(boxes_of(5, 0.75))
    assert (everything == 0.25).all() and (store.read(1) == 0.75).all() and len(store) == 5


def test_a_file_of_boxes_that_exists_is_used(tmp_path):
    np.save(tmp_path / 'known.npy', np.eye(4))
    assert BoxStore(str(tmp_path / 'known.npy')).read(2).tolist() == [0, 0, 1, 0]


@pytest.mark.parametrize('clone', [copy.copy, copy.deepcopy, lambda store: pickle.loads(pickle.dumps(store))])
def test_copies_and_pickles_share_the_file_and_carry_its_path_only(clone):
    store = BoxStore()
    store.write(boxes_of(100_000))
    assert len(pickle.dumps(store)) < 500
    other = clone(store)
    store.write(boxes_of(3, 0.125))
    assert (other.read(2) == 0.125).all()
    other.write(boxes_of(2))
    assert len(store) == 2


@pytest.mark.parametrize('index', [-1, 3, 1000])
def test_an_image_without_a_box_is_an_error_that_says_so(store, index):
    store.write(boxes_of(3))
    with pytest.raises(ValueError, match=f'image {index} .* holds 3 boxes.*data set has more images than boxes'):
        store.read(index)


@pytest.mark.parametrize('shape', [(0, 4), (4,), (3, 5), (2, 3, 4)])
def test_boxes_of_another_shape_are_refused_and_leave_the_old_ones(store, shape):
    store.write(boxes_of(3))
    with pytest.raises(ValueError, match=r'boxes must be \(num_images, 4\)'):
        store.write(np.zeros(shape))
    assert len(store) == 3


def test_a_file_of_something_else_is_named(tmp_path):
    np.save(tmp_path / 'labels.npy', np.arange(3))
    with pytest.raises(ValueError, match=r'labels.npy must hold an array \(num_images, 4\), got \(3,\)'):
        BoxStore(tmp_path / 'labels.npy').read(0)


def test_a_write_that_fails_half_way_leaves_the_old_boxes_and_no_litter(store, monkeypatch):
    store.write(boxes_of(3))

    def full_disk(file, boxes):
        file.write(b'half')
        raise OSError('No space left on device')

    monkeypatch.setattr(np, 'save', full_disk)
    with pytest.raises(OSError, match='No space left'):
        store.write(boxes_of(5))
    assert len(store) == 3 and os.listdir(os.path.dirname(store.path)) == ['boxes.npy']


def write_and_die(store):
    save = np.save

    def killed_half_way(file, boxes):
        save(file, boxes[:2])
        file.flush()
        os.kill(os.getpid(), 9)

    np.save = killed_half_way
    store.write(boxes_of(5))


def test_a_writer_killed_half_way_leaves_the_old_boxes_whole(store):
    store.write(boxes_of(3, 0.25))
    writer = FORK.Process(target=write_and_die, args=(store,))
    writer.start()
    writer.join()
    assert writer.exitcode == -9 and store.read_all().tolist() == boxes_of(3, 0.25).tolist()


def count_torn_reads(store, stop, answer):
    torn, seen = 0, set()
    while not stop.is_set():
        boxes = store.read_all()
        torn += len(np.unique(boxes)) != 1 or len(boxes) != 1000 + int(boxes[0, 0])
        seen.add(float(boxes[0, 0]))
    answer.put((torn, len(seen)))


def test_a_reader_sees_the_old_array_or_the_new_one_and_never_a_mixture(store):
    store.write(boxes_of(1000, 0))
    stop, answer = FORK.Event(), FORK.Queue()
    reader = FORK.Process(target=count_torn_reads, args=(store, stop, answer))
    reader.start()
    for value in range(1, 400):
        store.write(boxes_of(1000 + value, value))
    stop.set()
    torn, seen = answer.get(timeout=30)
    reader.join()
    assert torn == 0 and seen > 3


def test_threads_that_write_at_once_each_write_a_whole_array(store):
    threads = [threading.Thread(target=store.write, args=(boxes_of(1000, value),)) for value in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(np.unique(store.read_all())) == 1 and os.listdir(os.path.dirname(store.path)) == ['boxes.npy']


def test_boxes_that_are_mapped_survive_their_file(store):
    store.write(boxes_of(3))
    assert len(store) == 3
    os.unlink(store.path)
    assert len(store) == 3
    store.write(boxes_of(4))
    assert len(store) == 4


OWNER = """
import multiprocessing, os, pickle, subprocess, sys
import numpy as np
from viewplug.box_store import BoxStore

store, given = BoxStore(), BoxStore(sys.argv[1])
for each in (store, given):
    each.write(np.zeros((3, 4)))
child = os.fork()
if not child:
    assert len(store) == 3
    sys.exit()
os.waitpid(child, 0)
worker = multiprocessing.get_context('fork').Process(target=len, args=(store,))
worker.start()
worker.join()
reader = 'import pickle, sys; assert len(pickle.loads(bytes.fromhex(sys.argv[1]))) == 3'
subprocess.run([sys.executable, '-c', reader, pickle.dumps(store).hex()], check=True)
assert os.path.exists(store.path)
print(store.path)
"""


def test_only_the_process_that_made_a_temporary_store_removes_it_and_at_its_end(tmp_path):
    given = tmp_path / 'given.npy'
    environment = {**os.environ, 'TMPDIR': str(tmp_path)}
    run = subprocess.run([sys.executable, '-c', OWNER, given], capture_output=True, text=True, env=environment)
    assert run.returncode == 0, run.stderr
    assert Path(run.stdout.strip()).parent == tmp_path
    assert os.listdir(tmp_path) == ['given.npy']


def make_a_store(answer):
    store = BoxStore()
    store.write(boxes_of(3))
    answer.put((store.path, os.path.exists(store.path)))


def test_a_store_made_in_a_process_of_multiprocessing_is_removed_at_its_end():
    answer = FORK.Queue()
    process = FORK.Process(target=make_a_store, args=(answer,))
    process.start()
    path, existed = answer.get(timeout=30)
    process.join()
    assert existed and not os.path.exists(path)


def test_two_temporary_stores_have_two_files():
    assert BoxStore().path != BoxStore().path


def memory(kind: str) -> int:
    """Bytes of this process's resident memory: 'RssAnon' is its own, 'RssFile' may be shared with others."""
    lines = Path('/proc/self/status').read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(kind))


def read_every_page(store, answer):
    store.read(0)
    own, shared = memory('RssAnon'), memory('RssFile')
    total = sum(float(store.read(index)[0]) for index in range(0, len(store), 64))  # 1 KiB apart
    answer.put((total, memory('RssAnon') - own, memory('RssFile') - shared))


@pytest.mark.skipif(not sys.platform.startswith('linux'), reason='reads /proc')
def test_imagenet_takes_16_bytes_an_image_once_however_many_processes_read(store):
    number = 1_281_167
    store.write(boxes_of(number, 0.5))
    assert os.path.getsize(store.path) <= 16 * number + 128
    answers = []
    for _ in range(2):
        answer = FORK.Queue()
        reader = FORK.Process(target=read_every_page, args=(store, answer))
        reader.start()
        answers.append(answer.get(timeout=60))
        reader.join()
    for total, own, shared in answers:
        assert total == 0.5 * len(range(0, number, 64))
        assert own < 2e6 < 18e6 < shared


class Boxes(Dataset):
    """Sample ``i`` is box ``i`` of the store, NaN where there is none."""

    def __init__(self, store: BoxStore, number: int) -> None:
        self.store, self.number = store, number

    def __len__(self) -> int:
        return self.number

    def __getitem__(self, index: int) -> np.ndarray:
        box = self.store.read(index)
        return np.full(4, np.nan, dtype=np.float32) if box is None else box


@pytest.mark.parametrize('start_method,num_workers', [('fork', 2), ('spawn', 1)])
def test_workers_that_are_running_see_each_update(store, start_method, num_workers):
    loader = DataLoader(
        Boxes(store, 12),
        batch_size=3,
        num_workers=num_workers,
        persistent_workers=True,
        multiprocessing_context=start_method,
    )
    assert torch.cat(list(loader)).isnan().all()
    workers = {worker.pid for worker in loader._iterator._workers}
    for epoch in range(3):
        boxes = np.random.rand(12, 4).astype(np.float32)
        store.write(boxes)
        assert np.array_equal(torch.cat(list(loader)), boxes), epoch
    assert {worker.pid for worker in loader._iterator._workers} == workers
