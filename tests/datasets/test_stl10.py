import copy
import hashlib
import pickle
import tarfile

import numpy as np
import pytest
from mmengine.dataset import default_collate
from mmpretrain.registry import DATASETS
from torch.utils.data import DataLoader

from viewplug.datasets import STL10, archive

SIZES = dict(train=6, test=4, unlabeled=5)


def picture(part, index):
    """Each pixel differs from its neighbours in both directions and in colour, and each image from each other."""
    y, x, c = np.mgrid[:96, :96, :3]
    return ((3 * y + 7 * x + 50 * c + 11 * index + len(part)) % 256).astype(np.uint8)


def write(folder):
    """The true layout, written value by value: image after image, plane after plane, column after column."""
    folder.mkdir(parents=True)
    for part, number in SIZES.items():
        with open(folder / f'{part}_X.bin', 'wb') as file:
            for index in range(number):
                image = picture(part, index)
                for channel in range(3):
                    for column in range(96):
                        file.write(bytes(image[:, column, channel]))
        if part != 'unlabeled':
            (folder / f'{part}_y.bin').write_bytes(bytes(1 + i % 10 for i in range(number)))


@pytest.fixture
def root(tmp_path):
    write(tmp_path / 'stl10_binary')
    return tmp_path


def test_images_stand_upright_in_rgb_with_labels_from_zero(root):
    dataset = STL10(str(root), split='train')
    assert len(dataset) == 6
    for index in (0, 5):
        sample = dataset[index]
        assert np.array_equal(sample['img'], picture('train', index)) and sample['img'].dtype == np.uint8
        assert (sample['gt_label'], sample['sample_idx']) == (index, index)
    assert dataset.metainfo['classes'][2] == 'car' and len(dataset.CLASSES) == 10


def test_pre_training_sees_labelled_and_unlabelled_images_in_one_data_set(root):
    dataset = STL10(str(root), split='train+unlabeled')
    assert len(dataset) == 11
    assert np.array_equal(dataset[5]['img'], picture('train', 5))
    assert np.array_equal(dataset[6]['img'], picture('unlabeled', 0))
    assert [dataset.get_data_info(i)['gt_label'] for i in (5, 6, 10)] == [5, -1, -1]
    assert len(STL10(str(root), split='unlabeled')) == 5 and len(STL10(str(root), split='test')) == 4


def test_the_folder_of_the_files_itself_is_a_data_root_too(root):
    assert len(STL10(str(root / 'stl10_binary'), split='test')) == 4


def test_copies_subsets_and_workers_carry_no_pixels(root):
    dataset = STL10(str(root), split='unlabeled')
    dataset[0]
    assert len(pickle.dumps(dataset)) < 20_000
    assert np.array_equal(copy.deepcopy(dataset)[3]['img'], picture('unlabeled', 3))
    assert np.array_equal(dataset.get_subset([4])[0]['img'], picture('unlabeled', 4))
    pipeline = [dict(type='mmpretrain.PackInputs')]
    config = dict(type='viewplug.STL10', data_root=str(root), split='test', pipeline=pipeline)
    loader = DataLoader(
        DATASETS.build(config), 4, num_workers=1, collate_fn=default_collate, multiprocessing_context='spawn'
    )
    batch = next(iter(loader))
    assert np.array_equal(batch['inputs'][2].numpy().transpose(1, 2, 0), picture('test', 2))
    assert batch['data_samples'][3].gt_label.item() == 3


def test_what_a_transform_writes_into_an_image_stays_in_that_sample(root):
    dataset = STL10(str(root), split='train')
    dataset[1]['img'][:] = 0
    assert np.array_equal(dataset[1]['img'], picture('train', 1))


def test_missing_files_are_downloaded_checked_and_unpacked(root, tmp_path, monkeypatch):
    packed = tmp_path / 'served' / 'stl10_binary.tar.gz'
    packed.parent.mkdir()
    with tarfile.open(packed, 'w:gz') as tar:
        tar.add(root / 'stl10_binary', 'stl10_binary')
    monkeypatch.setattr(STL10, 'url', packed.as_uri())
    with pytest.raises(FileNotFoundError, match='train_X.bin and 1 more not found .the download failed'):
        STL10(str(tmp_path / 'a'))
    monkeypatch.setattr(STL10, 'md5', hashlib.md5(packed.read_bytes()).hexdigest())
    assert np.array_equal(STL10(str(tmp_path / 'b'))[3]['img'], picture('train', 3))

    monkeypatch.setattr(archive, 'download_and_extract_archive', None)  # it is there: nothing is fetched again
    assert len(STL10(str(tmp_path / 'b'), split='test')) == 4


def test_missing_files_without_download_are_one_sentence(tmp_path):
    with pytest.raises(
        FileNotFoundError, match='test_X.bin and 1 more not found .download=False.: unpack http'
    ) as error:
        STL10(str(tmp_path), split='test', download=False)
    assert '\n' not in str(error.value)


def test_damaged_files_and_unknown_splits_are_named(root):
    with pytest.raises(ValueError, match="one of train, test, unlabeled, train.unlabeled, got 'val'"):
        STL10(str(root), split='val')
    path = root / 'stl10_binary/test_X.bin'
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(ValueError, match='test_X.bin has 110591 bytes'):
        STL10(str(root), split='test')
    (root / 'stl10_binary/train_y.bin').write_bytes(bytes([1, 2, 3, 0, 1, 2]))
    with pytest.raises(ValueError, match='train_y.bin does not hold 6 labels from 1 to 10'):
        STL10(str(root), split='train')
