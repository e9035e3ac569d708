"""Images in tar files: the right pixels under the right number, whatever else is in the tars."""

import copy
import io
import os
import pickle
import shutil
import tarfile

import cv2
import numpy as np
import pytest
import torch
from mmengine.hooks import Hook
from mmengine.logging import MMLogger
from mmengine.registry import DATASETS
from mmengine.runner import Runner
from processes import in_processes
from torch.utils.data import DataLoader
from toys import toy_siamese

from viewplug.datasets import TarShards
from viewplug.datasets import tar_shards as module
from viewplug.datasets.tar_index import write_index
from viewplug.datasets.tar_scan import scan_tar
from viewplug.transforms import META_KEYS


def picture(number: int, size: int = 8) -> np.ndarray:
    return np.random.RandomState(number).randint(0, 256, (size, size + 1, 3), dtype=np.uint8)


def png(number: int) -> bytes:
    return cv2.imencode('.png', picture(number))[1].tobytes()


def pack(path, members: list[tuple[str, bytes]], **kwargs) -> None:
    with tarfile.open(path, 'w', **kwargs) as tar:
        for name, content in members:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))


@pytest.fixture
def folder(tmp_path):
    """Images 0 to 9 in shards of 4, 1 and 5."""
    for shard, numbers in enumerate((range(4), range(4, 5), range(5, 10))):
        pack(tmp_path / f'{shard:03d}.tar', [(f'images/{n:04d}.png', png(n)) for n in numbers])
    return tmp_path


def assert_pictures(dataset, numbers=range(10)) -> None:
    assert len(dataset) == len(numbers)
    for index, number in enumerate(numbers):
        sample = dataset[index]
        assert np.array_equal(sample['img'], picture(number)) and sample['sample_idx'] == index
        assert sample['img_shape'] == sample['ori_shape'] == (8, 9)


def test_images_are_numbered_through_all_shards(folder):
    dataset = TarShards(str(folder))
    assert_pictures(dataset)
    assert dataset.shard_starts.tolist() == [0, 4, 5, 10]
    assert dataset[4]['img_path'] == str(folder / '001.tar') and 'gt_label' not in dataset[4]


def test_what_else_a_sample_has_is_left_out_and_its_class_is_its_label(tmp_path):
    members = [
        ('b/0.json', b'{}'),
        ('b/0.PNG', png(0)),
        ('b/0.cls', b'7'),
        ('b/0.seg.png', png(99)),
        ('b/1.txt', b'no image'),
        ('b/.hidden.png', png(98)),
        ('b/2.cls', b'5\n'),
        ('b/2.jpg', png(1)),
        ('b/2.png', png(97)),
        ('c/2.png', png(2)),
    ]
    pack(tmp_path / 'a.tar', members)
    dataset = TarShards(str(tmp_path))
    assert_pictures(dataset, range(3))
    assert [dataset[i].get('gt_label') for i in range(3)] == [7, 5, None]


@pytest.mark.parametrize('format', [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_long_names_and_folders_do_not_shift_the_images(tmp_path, format):
    long = 'x' * 200
    pack(tmp_path / 'a.tar', [(f'{long}/{n}.png', png(n)) for n in range(3)], format=format)
    assert_pictures(TarShards(str(tmp_path)), range(3))


def test_the_index_is_made_once_and_again_for_a_shard_that_changed(folder, monkeypatch):
    made = []
    monkeypatch.setattr(module, 'write_index', lambda tar, index: (made.append(tar), write_index(tar, index)))
    assert_pictures(TarShards(str(folder)))
    assert made == [str(folder / f'{shard:03d}.tar') for shard in range(3)]
    assert_pictures(TarShards(str(folder)))
    assert len(made) == 3
    pack(folder / '001.tar', [('new.png', png(20)), ('newer.png', png(21))])
    os.utime(folder / '001.tar', ns=(10**18, 10**18))  # the clock of file times ticks seldom
    assert_pictures(TarShards(str(folder)), [0, 1, 2, 3, 20, 21, 5, 6, 7, 8, 9])
    assert len(made) == 4


@pytest.mark.parametrize('new', [range(20, 24), range(20, 27)], ids=['same_size', 'another_size'])
def test_a_shard_that_is_packed_anew_with_the_same_time_is_read_anew(tmp_path, new):
    """As rsync -t, reproducible tars and mounts without times leave it; tars are padded to 10 KiB."""
    sizes = []
    for numbers in (range(3), new):
        pack(tmp_path / 'a.tar', [(f'{n}.bmp', cv2.imencode('.bmp', picture(n))[1].tobytes() * 4) for n in numbers])
        os.utime(tmp_path / 'a.tar', (1.7e9, 1.7e9))
        sizes.append((tmp_path / 'a.tar').stat().st_size)
        assert_pictures(TarShards(str(tmp_path)), numbers)
    assert (sizes[0] == sizes[1]) == (len(new) == 4)


def test_a_shard_of_the_same_size_within_the_clocks_tolerance_is_read_anew(tmp_path):
    """Nothing but the time tells them apart: the sample misses what has changed."""
    content, times = os.urandom(200_000), (1_700_000_000_123_456_789, 1_700_000_000_123_556_788)
    for label, time in enumerate(times):
        middle = [('0.png', png(0)), ('0.cls', str(label).encode())]
        pack(tmp_path / 'a.tar', [('a.bin', content[:50_000]), *middle, ('b.bin', content)])
        os.utime(tmp_path / 'a.tar', ns=(time, time))
        assert TarShards(str(tmp_path))[0]['gt_label'] == label


@pytest.mark.parametrize('rounded', [1_700_000_000_000_000_000, 1_700_000_000_123_456_700])
def test_an_index_stays_where_a_copy_rounded_the_time(tmp_path, monkeypatch, rounded):
    pack(tmp_path / 'a.tar', [('0.png', png(0))])
    os.utime(tmp_path / 'a.tar', ns=(1_700_000_000_123_456_789,) * 2)
    TarShards(str(tmp_path))
    (tmp_path / 'copy').mkdir()
    for name in ('a.tar', 'a.tar.viewplug_index'):
        (tmp_path / 'copy' / name).write_bytes((tmp_path / name).read_bytes())
    os.utime(tmp_path / 'copy' / 'a.tar', ns=(rounded, rounded))
    monkeypatch.setattr(module, 'write_index', lambda *paths: pytest.fail('made anew'))
    assert_pictures(TarShards(str(tmp_path / 'copy')), range(1))


@pytest.mark.parametrize('copy_file', [shutil.copy, shutil.copy2], ids=['new_times', 'same_times'])
def test_an_index_that_was_copied_with_its_shard_stays_until_the_shard_is_packed_anew(tmp_path, monkeypatch, copy_file):
    """The sample misses what has changed."""
    content, there = os.urandom(200_000), tmp_path / 'there'
    there.mkdir()

    def repack(path, label, time):
        middle = [('0.png', png(0)), ('0.cls', str(label).encode())]
        pack(path, [('a.bin', content[:50_000]), *middle, ('b.bin', content)])
        os.utime(path, (time, time))

    repack(tmp_path / 'a.tar', 1, 1.7e9)
    TarShards(str(tmp_path))
    copied = [copy_file(tmp_path / name, there / name) for name in ('a.tar', 'a.tar.viewplug_index')]
    with monkeypatch.context() as patch:
        patch.setattr(module, 'write_index', lambda *paths: pytest.fail('made anew'))
        assert TarShards(str(there))[0]['gt_label'] == 1
    repack(there / 'a.tar', 2, os.stat(copied[1]).st_mtime + 10)
    assert TarShards(str(there))[0]['gt_label'] == 2


@pytest.mark.parametrize('content', [np.array([[512, 99, -1]]).tobytes(), b'', b'{"format": 1}'.ljust(504)])
def test_an_index_of_another_format_or_cut_off_is_made_anew(tmp_path, content):
    pack(tmp_path / 'a.tar', [('0.png', png(0))])
    (tmp_path / 'a.tar.viewplug_index').write_bytes(content)
    assert_pictures(TarShards(str(tmp_path)), range(1))
    index = (tmp_path / 'a.tar.viewplug_index').read_bytes()
    (tmp_path / 'a.tar.viewplug_index').write_bytes(index[:-8])
    assert_pictures(TarShards(str(tmp_path)), range(1))


def test_a_shard_that_is_still_written_is_refused(tmp_path, monkeypatch):
    pack(tmp_path / 'a.tar', [('0.png', png(0))])

    def meanwhile(tar, index):
        write_index(tar, index)
        pack(tmp_path / 'a.tar', [('1.png', png(1))])

    monkeypatch.setattr(module, 'write_index', meanwhile)
    with pytest.raises(ValueError, match='a.tar was written while its images were counted'):
        TarShards(str(tmp_path))


def test_an_index_takes_24_bytes_an_image_and_may_lie_elsewhere(folder, tmp_path_factory):
    elsewhere = tmp_path_factory.mktemp('indices')
    assert_pictures(TarShards(str(folder), index_root=str(elsewhere / 'new')))
    assert sorted(path.stat().st_size for path in (elsewhere / 'new').iterdir()) == [480 + 24 * n for n in (1, 4, 5)]
    assert sorted(path.name for path in folder.iterdir()) == ['000.tar', '001.tar', '002.tar']


def test_an_index_that_another_data_set_has_written_over_is_refused_not_read(tmp_path):
    """Shards of one name and size, one index_root: labels and offsets of the other would be taken."""
    for name, label in (('train', b'1'), ('val', b'2')):
        (tmp_path / name).mkdir()
        pack(tmp_path / name / '0.tar', [('a.png', png(0)), ('a.cls', label)])
    train = TarShards(str(tmp_path / 'train'), index_root=str(tmp_path / 'index'), pipeline=[])
    val = TarShards(str(tmp_path / 'val'), index_root=str(tmp_path / 'index'), pipeline=[])
    assert val[0]['gt_label'] == 2
    with pytest.raises(ValueError, match=r'0\.tar\.viewplug_index no longer belongs to .*train/0\.tar.*index_root'):
        train[0]


@pytest.mark.parametrize('max_open', [1, 2, 8])
def test_images_are_read_in_any_order_with_few_files_open(folder, max_open):
    dataset = TarShards(str(folder), max_open=max_open)
    for index in np.random.RandomState(0).randint(10, size=50).tolist():
        assert np.array_equal(dataset[index]['img'], picture(index))
        assert len(dataset._open.found) <= max_open


@pytest.mark.parametrize('clone', [copy.copy, copy.deepcopy, lambda dataset: pickle.loads(pickle.dumps(dataset))])
def test_copies_and_pickles_read_on(folder, clone):
    dataset = TarShards(str(folder))
    dataset[3]
    assert_pictures(clone(dataset))


@pytest.mark.parametrize('start_method', ['fork', 'spawn'])
def test_workers_read_the_same_files_at_once(folder, start_method):
    dataset = TarShards(str(folder))
    dataset[0]  # opened before the workers start
    loader = DataLoader(dataset, None, num_workers=2, multiprocessing_context=start_method)
    for index, sample in enumerate(loader):
        assert np.array_equal(sample['img'], picture(index))


def index_on_a_rank(folder) -> list[int]:
    return TarShards(folder).shard_starts.tolist()


def test_ranks_make_the_index_together(tmp_path):
    (tmp_path / 'shards').mkdir()
    for shard in range(7):
        pack(tmp_path / 'shards' / f'{shard}.tar', [(f'{shard}_{n}.png', png(n)) for n in range(shard + 1)])
    found = in_processes(index_on_a_rank, tmp_path, str(tmp_path / 'shards'))
    assert found == [np.cumsum(range(8)).tolist()] * 2
    names = {path.name for path in (tmp_path / 'shards').iterdir()}
    assert names == {f'{n}.tar' for n in range(7)} | {f'{n}.tar.viewplug_index' for n in range(7)}


def test_a_config_builds_it_and_pipelines_take_its_images(folder):
    pipeline = [dict(type='mmpretrain.Resize', scale=(4, 4)), dict(type='mmpretrain.PackInputs')]
    dataset = DATASETS.build(dict(type='viewplug.TarShards', data_root=str(folder), pipeline=pipeline))
    assert dataset[7]['inputs'].shape == (3, 4, 4) and dataset[7]['inputs'].dtype == torch.uint8
    assert dataset[7]['data_samples'].sample_idx == 7


def test_an_image_that_cannot_be_decoded_is_replaced_and_in_a_test_is_an_error(tmp_path, monkeypatch):
    said = []
    monkeypatch.setattr(module, 'print_log', lambda text, *args, **kwargs: said.append(text))
    pack(tmp_path / 'a.tar', [('0.png', png(0)), ('1.png', b'not an image'), ('2.png', b'')])
    dataset = TarShards(str(tmp_path))
    for broken in (1, 2):
        assert np.array_equal(dataset[broken]['img'], picture(0)) and dataset[broken]['sample_idx'] == 0
    assert any('image 1, 12 bytes from' in text for text in said)
    with pytest.raises(ValueError, match='image 1, 12 bytes.*test_mode=True'):
        TarShards(str(tmp_path), test_mode=True)[1]


def said_of_image_1(folder) -> str:
    logger, said = MMLogger.get_instance('shards'), io.StringIO()
    logger.handlers[0].setStream(said)
    TarShards(folder)[1]
    return said.getvalue()


def test_every_rank_says_what_it_cannot_decode(tmp_path):
    pack(tmp_path / 'a.tar', [('0.png', png(0)), ('1.png', b'not an image')])
    for said in in_processes(said_of_image_1, tmp_path, str(tmp_path)):
        assert 'image 1, 12 bytes from' in said and 'another one takes its place' in said


def test_a_run_trains_on_shards_and_finds_their_boxes(tmp_path):
    """Through viewplug.ShardSampler, two epochs, with ContrastiveCrop."""
    for shard in range(3):
        pack(tmp_path / f'{shard}.tar', [(f'{n}.png', png(4 * shard + n)) for n in range(4)])
    crop = dict(type='viewplug.ContrastiveCrop', scale=16)
    pipeline = [
        dict(type='viewplug.MultiView', num_views=2, transforms=[[crop]]),
        dict(type='mmpretrain.PackInputs', meta_keys=META_KEYS),
    ]
    seen = []

    class Watch(Hook):
        def before_train_iter(self, runner, batch_idx, data_batch=None):
            seen.append([sample.sample_idx for sample in data_batch['data_samples']])

    runner = Runner(
        model=toy_siamese(),
        work_dir=str(tmp_path / 'run'),
        experiment_name='tar_shards',
        train_dataloader=dict(
            batch_size=4,
            num_workers=2,
            sampler=dict(type='viewplug.ShardSampler', window=4),
            collate_fn=dict(type='default_collate'),
            dataset=dict(type='viewplug.TarShards', data_root=str(tmp_path), pipeline=pipeline),
        ),
        optim_wrapper=dict(optimizer=dict(type='SGD', lr=0.0)),
        custom_hooks=[dict(type='viewplug.LocalizationHook', start=1, interval=1), Watch()],
        default_hooks=dict(checkpoint=None),
        train_cfg=dict(by_epoch=True, max_epochs=3),
        randomness=dict(seed=5),
    )
    runner.train()
    epochs = [sum(seen[3 * epoch : 3 * epoch + 3], []) for epoch in range(3)]
    assert all(sorted(epoch) == list(range(12)) for epoch in epochs)
    assert all(len({index // 4 for index in batch}) == 1 for batch in seen)  # a shard at a time
    assert epochs[0] != epochs[1] != epochs[2]
    store = runner.train_dataloader.dataset.pipeline.transforms[0].pipelines[0].transforms[0].box_store
    assert store.read_all().shape == (12, 4)


def test_offsets_are_those_of_the_file(folder):
    content = (folder / '002.tar').read_bytes()
    for number, (offset, size, label) in enumerate(scan_tar(folder / '002.tar')[0].tolist()):
        assert content[offset : offset + size] == png(5 + number) and label == -1


def test_a_folder_without_shards_is_refused_with_the_pattern(tmp_path):
    with pytest.raises(FileNotFoundError, match=r'no file .*/\*\.tar: set data_root'):
        TarShards(str(tmp_path))


def test_a_folder_whose_name_is_a_pattern_is_found(tmp_path):
    folder = tmp_path / 'x[1]*'
    folder.mkdir()
    pack(folder / '0.tar', [('0.png', png(0))])
    assert_pictures(TarShards(str(folder)), range(1))


def test_a_compressed_shard_is_refused(tmp_path):
    with tarfile.open(tmp_path / 'a.tar', 'w:gz') as tar:
        tar.addfile(tarfile.TarInfo('0.png'))
    with pytest.raises(ValueError, match=r'a\.tar is no uncompressed tar file'):
        TarShards(str(tmp_path))


def test_shards_without_an_image_are_refused(tmp_path):
    pack(tmp_path / 'a.tar', [('0.txt', b'text')])
    with pytest.raises(ValueError, match='no image in 1 tar files .*, which hold 1 .txt: set data_root'):
        TarShards(str(tmp_path))


def test_a_class_that_is_no_number_is_refused(tmp_path):
    pack(tmp_path / 'a.tar', [('0.cls', b'cat'), ('0.png', png(0))])
    with pytest.raises(ValueError, match=r"0\.cls in .*a\.tar must hold a class number, got b'cat'"):
        TarShards(str(tmp_path))


def test_an_index_that_cannot_be_written_names_the_way_out(folder):
    (folder / 'file').write_text('')
    with pytest.raises(ValueError, match='cannot write .*set index_root'):
        TarShards(str(folder), index_root=str(folder / 'file' / 'below'))


def test_an_index_of_another_format_that_cannot_be_replaced_says_so(tmp_path, monkeypatch):
    pack(tmp_path / 'a.tar', [('0.png', png(0))])
    (tmp_path / 'a.tar.viewplug_index').write_bytes(np.array([[512, 99, -1]]).tobytes())

    def read_only(tar, index):
        raise OSError('Read-only file system')

    monkeypatch.setattr(module, 'write_index', read_only)
    with pytest.raises(ValueError, match='replaces one of the format of another version .*Read-only.*set index_root'):
        TarShards(str(tmp_path))


def test_subsets_are_refused_since_there_is_no_list(folder):
    with pytest.raises(ValueError, match='leave shards out'):
        TarShards(str(folder), indices=3)
    with pytest.raises(ValueError, match='leave shards out'):
        TarShards(str(folder)).get_subset([1])
    assert_pictures(TarShards(str(folder), shards='00[01].tar'), range(5))


def test_a_number_that_no_image_has_is_an_index_error(folder):
    dataset = TarShards(str(folder))
    for index in (-1, 10):
        with pytest.raises(IndexError, match=f'images 0 to 9, asked for {index}'):
            dataset[index]
