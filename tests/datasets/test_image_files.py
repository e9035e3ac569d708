"""What a folder of images says about the files that it leaves out, and about paths that are wrong."""

import os

import cv2
import numpy as np
import pytest

from viewplug.datasets import ClassSubset, CorruptImagesError, ImageFolder
from viewplug.datasets.image_files import printable

LOAD = dict(type='LoadImageFromFile')


@pytest.fixture
def said(monkeypatch):
    lines = []
    monkeypatch.setattr('viewplug.datasets.image_folder.print_log', lambda text, *_, **__: lines.append(text))
    return lines


def make(root, files, content=b''):
    for file in files:
        (root / file).parent.mkdir(parents=True, exist_ok=True)
        (root / file).write_bytes(content)


def names(dataset):
    return [os.path.relpath(dataset.get_data_info(i)['img_path'], dataset.img_prefix) for i in range(len(dataset))]


def test_files_left_out_are_counted_by_extension_in_one_line(tmp_path, said):
    make(tmp_path, ['1.jpe', '2.JFIF', 'a/3.jpg', '1.gif', 'a/2.GIF', 'README', '.hidden'])
    assert names(ImageFolder(str(tmp_path))) == ['1.jpe', '2.JFIF', 'a/3.jpg']
    assert len(said) == 1 and '3 images in' in said[0]
    assert 'left out: 2 .gif, 1 without extension (extensions=.bmp, ' in said[0]


def test_other_ranks_and_folders_of_images_only_say_nothing(tmp_path, said, monkeypatch):
    make(tmp_path, ['1.jpg', 'a/2.jpg'])
    ImageFolder(str(tmp_path))
    make(tmp_path, ['a/notes.txt'])
    monkeypatch.setattr('viewplug.datasets.image_folder.is_main_process', lambda: False)
    ImageFolder(str(tmp_path))
    assert said == []


def test_folders_linked_a_second_time_are_named_and_those_below_them_are_not(tmp_path, said):
    make(tmp_path, ['x/1.jpg', 'x/deep/2.jpg', 's/3.jpg'])
    (tmp_path / 's/again').symlink_to('../x')
    assert len(ImageFolder(str(tmp_path))) == 5
    assert said[0].endswith('folders reached again by a link, whose images count twice: 1 (s/again)')


def test_classes_that_are_the_folders_names_are_numbered_by_name(tmp_path):
    make(tmp_path, ['a/1.jpg', 'b/1.jpg'])
    for dataset in (
        ImageFolder(str(tmp_path), with_label=True, classes=['b', 'a']),
        ClassSubset(str(tmp_path), num_classes=2, classes=['b', 'a']),
    ):
        assert names(dataset) == ['a/1.jpg', 'b/1.jpg']
        assert dataset.get_gt_labels().tolist() == [1, 0] and dataset.CLASSES == ('b', 'a')


def test_other_names_are_those_of_the_sorted_folders(tmp_path):
    make(tmp_path, ['a/1.jpg', 'b/1.jpg'])
    dataset = ImageFolder(str(tmp_path), with_label=True, classes=['zebra', 'ape'])
    assert dataset.get_gt_labels().tolist() == [0, 1]


def test_names_of_the_sorted_folders_may_be_the_folders_own(tmp_path):
    make(tmp_path, ['airplane/1.jpg', 'bird/1.jpg', 'car/1.jpg'])
    dataset = ImageFolder(str(tmp_path), with_label=True, classes=('airplane', 'bird', 'automobile'))
    assert dataset.get_gt_labels().tolist() == [0, 1, 2]


def test_more_names_than_a_subset_has_classes_are_an_error_with_the_number_of_those(tmp_path):
    make(tmp_path, [f'{name}/1.jpg' for name in 'abcd'])
    with pytest.raises(ValueError, match='viewplug.ClassSubset: classes names 4, but .* has 2 chosen folders'):
        ClassSubset(str(tmp_path), num_classes=2, classes=list('abcd'))


@pytest.mark.parametrize(
    ('classes', 'text'),
    [
        (['b', 'cat'], 'names cat, which is no folder.*does not name the folder a'),
        (['b', 'b'], 'names a folder of .* twice and does not name a'),
        (['a'], 'names 1, but .* has 2 folders'),
    ],
)
def test_classes_of_which_some_are_folders_are_an_error(tmp_path, classes, text):
    make(tmp_path, ['a/1.jpg', 'b/1.jpg'])
    with pytest.raises(ValueError, match=f'viewplug.ImageFolder: classes {text}'):
        ImageFolder(str(tmp_path), with_label=True, classes=classes)


@pytest.mark.parametrize(('name', 'text'), [('c.json', ''), ('c.txt', '{"images": []}'), ('c.txt', '[\n"1.jpg"]')])
def test_json_is_no_list_of_paths(tmp_path, name, text):
    make(tmp_path, ['1.jpg'])
    (tmp_path / name).write_text(text)
    with pytest.raises(ValueError, match=f'ann_file=.*{name} is JSON, but a text file is wanted, the path of an image'):
        ImageFolder(str(tmp_path), ann_file=name)


@pytest.mark.parametrize(('with_label', 'line'), [(False, '[1] {2}.jpg'), (True, '[1] {2}.jpg 3')])
def test_a_name_may_begin_with_a_bracket(tmp_path, with_label, line):
    (tmp_path / 'list.txt').write_text(line)
    assert names(ImageFolder(str(tmp_path), ann_file='list.txt', with_label=with_label)) == ['[1] {2}.jpg']


def test_a_folder_of_tar_files_names_their_data_set(tmp_path):
    make(tmp_path, ['0.tar', '1.tar'])
    with pytest.raises(FileNotFoundError, match=f"2 .tar.*type='viewplug.TarShards', data_root='{tmp_path}'"):
        ImageFolder(str(tmp_path))


def test_names_that_are_not_utf8_or_have_line_breaks_are_logged_in_one_line(tmp_path, said):
    cv2.imwrite(str(tmp_path / 'a.png'), np.zeros((4, 4, 3), np.uint8))
    with open(os.fsencode(tmp_path) + b'/b\xe9\n.jpg', 'wb'):
        pass
    ImageFolder(str(tmp_path), pipeline=[LOAD])[1]
    assert said[-1].encode().endswith(rb'/b\xe9\n.jpg is replaced by the next image: the file is empty')
    with pytest.raises(CorruptImagesError) as error:
        ImageFolder(str(tmp_path), pipeline=[LOAD], test_mode=True)[1]
    assert r'/b\xe9\n.jpg cannot be read' in str(error.value)
    assert printable('é/日本.jpg') == 'é/日本.jpg'
