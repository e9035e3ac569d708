import copy
import io
import os
import pickle

import cv2
import numpy as np
import pytest
import torch
from mmengine.dataset import RepeatDataset, default_collate
from mmpretrain.datasets import CustomDataset
from mmpretrain.registry import DATASETS
from PIL import Image
from torch.utils.data import DataLoader

from viewplug.datasets import CorruptImagesError, ImageFolder

LOAD = dict(type='LoadImageFromFile')


def picture(mode='RGB', size=(40, 32)):
    y, x = np.mgrid[: size[1], : size[0]]
    noise = np.random.default_rng(0).integers(0, 60, (*y.shape, 3))
    return Image.fromarray((np.stack([x, y, x + y], -1) + noise).astype(np.uint8)).convert(mode)


def encode(image, kind='JPEG', **options):
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


JPEG = encode(picture())
CORRUPT = {
    'empty.jpg': b'',
    'text.jpg': b'<html>404</html>',
    'truncated.jpg': JPEG[: len(JPEG) // 2],
    'header.jpg': JPEG[:100],
    'truncated.png': encode(picture(), 'PNG')[:900],
    'truncated.webp': encode(picture(), 'WEBP')[:200],
    'truncated.tif': encode(picture(), 'TIFF')[:1500],
}


@pytest.fixture
def folder(tmp_path):
    """Ten good JPEGs, 00 to 09, and what a test adds."""
    for i in range(10):
        (tmp_path / f'{i:02d}.jpg').write_bytes(JPEG)
    return tmp_path


class ToTensor:
    """The sample as numbers that the default collate takes."""

    def __call__(self, results):
        return dict(index=results['sample_idx'], mean=float(results['img'].mean()))


def names(dataset):
    return [os.path.relpath(dataset.get_data_info(i)['img_path'], dataset.img_prefix) for i in range(len(dataset))]


def make(root, files, content=JPEG):
    for file in files:
        (root / file).parent.mkdir(parents=True, exist_ok=True)
        (root / file).write_bytes(content)


# What is found


def test_nested_images_are_found_in_sorted_order_whatever_the_case(tmp_path):
    make(tmp_path, ['b/2.JPG', 'b/1.jpeg', 'a/deep/er/x.WebP', 'top.tIf', 'a-b/1.png', 'note.txt', 'b/no_extension'])
    dataset = ImageFolder(str(tmp_path))
    assert names(dataset) == ['a-b/1.png', 'a/deep/er/x.WebP', 'b/1.jpeg', 'b/2.JPG', 'top.tIf']
    assert 'gt_label' not in dataset.get_data_info(0)


def test_hidden_files_and_folders_are_ignored(tmp_path):
    make(tmp_path, ['1.jpg', '._1.jpg', '.thumbs/2.jpg', 'a/.3.jpg'])
    assert names(ImageFolder(str(tmp_path))) == ['1.jpg']


def test_links_are_followed_and_loops_are_not(tmp_path):
    make(tmp_path, ['elsewhere/e.jpg', 'root/a/1.jpg'])
    (tmp_path / 'root/a/up').symlink_to(tmp_path / 'root')
    (tmp_path / 'root/itself').symlink_to(tmp_path / 'root/itself')
    (tmp_path / 'root/folder').symlink_to(tmp_path / 'elsewhere')
    (tmp_path / 'root/file.jpg').symlink_to(tmp_path / 'elsewhere/e.jpg')
    (tmp_path / 'linked').symlink_to(tmp_path / 'root')
    assert names(ImageFolder(str(tmp_path / 'linked'))) == ['a/1.jpg', 'file.jpg', 'folder/e.jpg']


@pytest.mark.parametrize('with_label', [False, True])
def test_the_order_is_mmpretrains(tmp_path, with_label):
    make(tmp_path, ['a/2.jpg', 'a/b/1.jpg', 'a-b/1.jpg', 'B/1.jpg', 'a.b/1.jpg'])
    mine = ImageFolder(str(tmp_path), with_label=with_label, serialize_data=False)
    stock = CustomDataset(str(tmp_path), with_label=with_label, serialize_data=False)
    assert mine.data_list == stock.data_list


def test_with_label_the_first_level_folder_is_the_class(tmp_path):
    make(tmp_path, ['dog/deep/1.jpg', 'cat/1.jpg', 'cat/2.jpg', 'loose.jpg'])
    (tmp_path / 'empty').mkdir()
    dataset = DATASETS.build(dict(type='viewplug.ImageFolder', data_root=str(tmp_path), with_label=True))
    assert dataset.CLASSES == ('cat', 'dog', 'empty')
    assert dataset.get_gt_labels().tolist() == [0, 0, 1]


def test_extensions_can_be_chosen_with_or_without_dot(tmp_path):
    make(tmp_path, ['1.jpg', '2.raw', 'draw'])
    assert names(ImageFolder(str(tmp_path), extensions=['raw'])) == ['2.raw']


def test_a_list_of_files_takes_the_place_of_the_scan(folder):
    (folder / 'list.txt').write_text('03.jpg\n01.jpg\n')
    assert names(ImageFolder(str(folder), data_prefix='.', ann_file='list.txt')) == ['03.jpg', '01.jpg']


# What is not found


def test_a_missing_folder_is_one_sentence(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FileNotFoundError) as error:
        ImageFolder('data/photos')
    text = str(error.value)
    assert f'{tmp_path}/data/photos does not exist, so 0 images were found' in text
    assert '.jpeg' in text and 'set data_root' in text and f'exists is {tmp_path}.' in text and '\n' not in text


def test_a_folder_without_images_is_one_sentence_with_what_it_holds(tmp_path):
    make(tmp_path, ['1.heic', '2.HEIC', 'readme'])
    with pytest.raises(FileNotFoundError) as error:
        DATASETS.build(dict(type='viewplug.ImageFolder', data_root=str(tmp_path)))
    text = str(error.value)
    assert f'{tmp_path} holds 3 files (2 .heic, 1 without extension)' in text
    assert '.jpeg' in text and 'set extensions' in text and '\n' not in text


def test_with_label_images_without_a_class_folder_are_an_error(folder):
    with pytest.raises(FileNotFoundError, match='10 images directly in it.*with_label=False'):
        ImageFolder(str(folder), with_label=True)


def test_no_folder_at_all_names_the_key():
    with pytest.raises(ValueError, match="set data_root to the folder that holds the images, got ''"):
        ImageFolder()


@pytest.mark.parametrize('value', [-1, 1.5, True, '3'])
def test_a_limit_out_of_range_is_an_error(folder, value):
    with pytest.raises(ValueError, match=f'max_corrupt must be .*, got {value!r}'):
        ImageFolder(str(folder), max_corrupt=value)


# What is read


@pytest.mark.parametrize(
    'content',
    [
        encode(picture('L')),
        encode(picture('CMYK')),
        encode(picture(), progressive=True),
        encode(picture('RGBA'), 'PNG'),
        encode(picture('LA'), 'PNG'),
        encode(picture('P'), 'PNG'),
        encode(picture('1'), 'PNG'),
        encode(Image.fromarray(np.full((32, 40), 30000, np.uint16)), 'PNG'),
        encode(Image.fromarray(np.full((32, 40), 30000, np.uint16)), 'TIFF'),
        encode(picture(), 'WEBP'),
        JPEG + bytes(100),
    ],
    ids=[
        'grey',
        'cmyk',
        'progressive',
        'rgba',
        'grey_alpha',
        'palette',
        'bits',
        'png16',
        'tiff16',
        'webp',
        'bytes_after_the_end',
    ],
)
def test_every_kind_of_image_has_three_channels_of_8_bits(tmp_path, content):
    make(tmp_path, ['1.jpg'], content)  # decoders look at the content, not at the name
    dataset = ImageFolder(str(tmp_path), pipeline=[LOAD], max_corrupt=0)
    image = dataset[0]['img']
    assert image.shape == (32, 40, 3) and image.dtype == np.uint8 and 0 < image.mean() < 200


def test_corrupt_images_are_replaced_by_the_next_and_counted_once(folder):
    for name, content in CORRUPT.items():
        make(folder, [name], content)
    (folder / 'broken_link.jpg').symlink_to(folder / 'nowhere')
    dataset = ImageFolder(str(folder), pipeline=[LOAD])
    for _ in range(2):
        seen = [os.path.basename(dataset[i]['img_path']) for i in range(len(dataset))]
        # All corrupt files sort behind the ten good ones, so that the next after them is the first.
        assert seen == [f'{i:02d}.jpg' for i in range(10)] + ['00.jpg'] * 8
    assert {os.path.basename(p) for p in dataset.corrupt_paths} == {*CORRUPT, 'broken_link.jpg'}
    assert len(dataset.corrupt_paths) == 8


def test_the_replacement_keeps_its_own_index(folder):
    make(folder, ['03.jpg', '04.jpg'], b'')
    sample = ImageFolder(str(folder), pipeline=[LOAD])[3]
    assert sample['sample_idx'] == 5 and sample['img_path'].endswith('05.jpg')


def test_a_truncated_jpeg_is_corrupt_where_opencv_returns_it_half_grey(folder, monkeypatch):
    make(folder, ['03.jpg'], CORRUPT['truncated.jpg'])
    monkeypatch.setattr(cv2, 'imdecode', lambda *_: np.full((32, 40, 3), 128, np.uint8))  # OpenCV up to 4.10
    dataset = ImageFolder(str(folder), pipeline=[LOAD])
    assert dataset[3]['sample_idx'] == 4
    assert len(dataset.corrupt_paths) == 1


def test_each_file_is_warned_about_once(folder, monkeypatch):
    make(folder, ['03.jpg'], b'')
    lines = []
    monkeypatch.setattr('viewplug.datasets.image_folder.print_log', lambda text, *_, **__: lines.append(text))
    dataset = ImageFolder(str(folder), pipeline=[LOAD])
    dataset[3], dataset[3]
    assert lines == [f'viewplug.ImageFolder: {folder}/03.jpg is replaced by the next image: the file is empty']


def test_an_error_in_another_transform_surfaces_as_it_is(folder):
    def broken(results):
        raise KeyError('scale_factor')

    dataset = ImageFolder(str(folder), pipeline=[LOAD, broken])
    with pytest.raises(KeyError, match='scale_factor'):
        dataset[0]
    assert dataset.corrupt_paths == []


def test_a_transform_that_returns_none_draws_another_sample_as_in_mmengine(folder):
    dataset = ImageFolder(str(folder), pipeline=[LOAD, lambda r: None if r['sample_idx'] == 0 else r])
    assert dataset[0]['sample_idx'] != 0 and dataset.corrupt_paths == []


@pytest.mark.parametrize(('limit', 'allowed'), [(2, 2), (0.2, 2), (0.29, 2), (0.01, 1), (0, 0), (0.0, 0)])
def test_more_corrupt_files_than_the_limit_are_an_error(folder, limit, allowed):
    make(folder, ['01.jpg', '03.jpg', '05.jpg'], b'')
    dataset = ImageFolder(str(folder), pipeline=[LOAD], max_corrupt=limit)
    for i in (1, 3, 5)[:allowed]:
        dataset[i]
    with pytest.raises(CorruptImagesError) as error:
        dataset[(1, 3, 5)[allowed]]
    text = f'{allowed + 1} of 10 images cannot be read, and max_corrupt={limit} allows {allowed}: {folder}/01.jpg'
    assert text in str(error.value)


def test_a_folder_of_corrupt_images_only_is_an_error_without_a_limit(tmp_path):
    make(tmp_path, [f'{i}.jpg' for i in range(5)], b'')
    with pytest.raises(CorruptImagesError, match='none of 5 images in a row can be read, from .*3.jpg to .*2.jpg'):
        ImageFolder(str(tmp_path), pipeline=[LOAD], max_corrupt=None)[3]


def test_in_test_mode_nothing_is_replaced(folder):
    make(folder, ['03.jpg'], b'')
    dataset = ImageFolder(str(folder), pipeline=[LOAD], test_mode=True)
    with pytest.raises(CorruptImagesError, match=r'03.jpg cannot be read \(the file is empty\), and test_mode=True'):
        dataset[3]


# Who counts


def test_a_subset_counts_its_own_images(folder):
    make(folder, ['03.jpg', '09.jpg'], b'')
    dataset = ImageFolder(str(folder), pipeline=[LOAD])
    dataset[3]
    subset = dataset.get_subset([9, 8])
    assert subset.corrupt_paths == []
    assert subset[0]['img_path'].endswith('08.jpg')
    assert [os.path.basename(p) for p in subset.corrupt_paths] == ['09.jpg']
    assert [os.path.basename(p) for p in dataset.corrupt_paths] == ['03.jpg']
    dataset.get_subset_([9])
    assert dataset.corrupt_paths == []


@pytest.mark.parametrize('duplicate', [copy.deepcopy, lambda d: pickle.loads(pickle.dumps(d))], ids=['copy', 'pickle'])
def test_a_copy_still_counts_over_worker_processes(folder, duplicate):
    make(folder, ['03.jpg'], b'')
    dataset = duplicate(ImageFolder(str(folder), pipeline=[LOAD, ToTensor()]))
    list(DataLoader(dataset, batch_size=5, num_workers=1, multiprocessing_context='fork'))
    assert [os.path.basename(p) for p in dataset.corrupt_paths] == ['03.jpg']


@pytest.mark.parametrize('start', ['fork', 'spawn'])
def test_workers_skip_the_same_images_and_the_main_process_sees_the_count(folder, start):
    make(folder, ['02.jpg', '07.jpg'], CORRUPT['truncated.jpg'])
    dataset = ImageFolder(str(folder), pipeline=[LOAD, ToTensor()])
    loader = DataLoader(
        RepeatDataset(dataset, 2),
        batch_size=5,
        num_workers=2 if start == 'fork' else 1,  # a spawned worker imports everything anew
        multiprocessing_context=start,
        persistent_workers=start == 'spawn',
        collate_fn=default_collate,
    )
    for _ in range(2):
        seen = torch.cat([batch['index'] for batch in loader]).tolist()
        assert seen == [0, 1, 3, 3, 4, 5, 6, 8, 8, 9] * 2
        assert [os.path.basename(p) for p in dataset.corrupt_paths] == ['02.jpg', '07.jpg']


def test_the_limit_surfaces_from_a_worker_as_one_sentence(folder):
    make(folder, ['02.jpg', '07.jpg'], b'')
    dataset = ImageFolder(str(folder), pipeline=[LOAD, ToTensor()], max_corrupt=1)
    batches = iter(DataLoader(dataset, batch_size=5, num_workers=2, multiprocessing_context='fork'))
    with pytest.raises(CorruptImagesError) as error:
        list(batches)
    batches._shutdown_workers()  # left to the garbage collector, torch waits 5 s for each
    text = str(error.value)
    assert text.startswith('viewplug.ImageFolder: 2 of 10 images cannot be read, and max_corrupt=1 allows 1:')
    assert '02.jpg' in text and '07.jpg' in text and '\n' not in text
