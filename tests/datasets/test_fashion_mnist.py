import gzip

import numpy as np
import pytest
from mmpretrain.registry import DATASETS

from viewplug.datasets import FashionMNIST, fashion_mnist


def write_idx(path, array, packed=True):
    """The format of the original files: two zero bytes, type (8: uint8), dimensions, sizes as big-endian int32."""
    head = bytes([0, 0, 8, array.ndim]) + b''.join(n.to_bytes(4, 'big') for n in array.shape)
    with (gzip.open if packed else open)(path, 'wb') as file:
        file.write(head + array.tobytes())


@pytest.fixture
def folder(tmp_path):
    rng = np.random.default_rng(0)
    for name, number in (('train', 6), ('t10k', 3)):
        write_idx(tmp_path / f'{name}-images-idx3-ubyte.gz', rng.integers(0, 256, (number, 28, 28), dtype=np.uint8))
        write_idx(tmp_path / f'{name}-labels-idx1-ubyte.gz', np.arange(number, dtype=np.uint8))
    return tmp_path


def test_packed_files_give_three_equal_channels_a_label_and_an_index(folder):
    dataset = FashionMNIST(str(folder))
    sample = dataset[4]
    with gzip.open(folder / 'train-images-idx3-ubyte.gz') as file:
        raw = np.frombuffer(file.read()[16:], np.uint8).reshape(6, 28, 28)
    assert len(dataset) == 6
    assert sample['img'].shape == (28, 28, 3) and sample['img'].dtype == np.uint8
    assert all(np.array_equal(sample['img'][..., c], raw[4]) for c in range(3))
    assert sample['gt_label'] == 4 and sample['sample_idx'] == 4
    assert dataset.CLASSES[9] == 'Ankle boot'


@pytest.mark.parametrize('test_mode', [False, True])
def test_split_chooses_the_files_whatever_test_mode_is(folder, test_mode):
    assert len(FashionMNIST(str(folder), split='test', test_mode=test_mode)) == 3
    assert len(FashionMNIST(str(folder), split='train', test_mode=test_mode)) == 6


def test_unpacked_files_are_read_too(tmp_path):
    write_idx(tmp_path / 'train-images-idx3-ubyte', np.zeros((2, 28, 28), np.uint8), packed=False)
    write_idx(tmp_path / 'train-labels-idx1-ubyte', np.array([3, 1], np.uint8), packed=False)
    assert FashionMNIST(str(tmp_path)).get_gt_labels().tolist() == [3, 1]


def test_without_a_folder_debians_is_taken(folder, monkeypatch):
    monkeypatch.setattr(fashion_mnist, 'DEBIAN_FOLDER', str(folder))
    assert len(DATASETS.build(dict(type='viewplug.FashionMNIST', split='test'))) == 3


def test_missing_files_are_downloaded_by_mmpretrain(tmp_path, folder, monkeypatch):
    target = tmp_path / 'fresh'

    def download(self):  # in the place of mmpretrain's, which downloads and unpacks
        target.mkdir()
        for name, _ in self.train_list + self.test_list:
            with gzip.open(folder / name) as file:
                (target / name.removesuffix('.gz')).write_bytes(file.read())

    monkeypatch.setattr(FashionMNIST, '_download', download)
    assert len(FashionMNIST(str(target))) == 6


def test_missing_files_without_download_are_one_sentence(tmp_path):
    with pytest.raises(FileNotFoundError, match='lacks train-images-idx3-ubyte.gz or .*`apt install') as error:
        FashionMNIST(str(tmp_path), download=False)
    assert str(tmp_path) in str(error.value) and '\n' not in str(error.value)


def test_an_unknown_split_is_an_error():
    with pytest.raises(ValueError, match="'train' or 'test', got 'val'"):
        FashionMNIST('anywhere', split='val')
