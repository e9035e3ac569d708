import hashlib
import zipfile

import numpy as np
import pytest
from mmpretrain.registry import DATASETS
from PIL import Image

from viewplug.datasets import TinyImageNet

WNIDS = ['n02124075', 'n01443537', 'n04067472']  # as in the file: not sorted
VAL = {'val_0.JPEG': 'n04067472', 'val_1.JPEG': 'n01443537', 'val_2.JPEG': 'n04067472', 'val_3.JPEG': 'n02124075'}


def write(root):
    """The archive's layout in small: boxes beside the images, one folder of validation images, test without labels."""
    for wnid in WNIDS:
        images = root / f'train/{wnid}/images'
        images.mkdir(parents=True)
        boxes = []
        for i in range(2):
            save(images / f'{wnid}_{i}.JPEG', grey=i == 1)
            boxes.append(f'{wnid}_{i}.JPEG\t0\t10\t63\t58\n')
        (root / f'train/{wnid}/{wnid}_boxes.txt').write_text(''.join(boxes))
    for folder in ('val', 'test'):
        (root / folder / 'images').mkdir(parents=True)
    for name in VAL:
        save(root / 'val/images' / name)
    save(root / 'test/images/test_0.JPEG')
    lines = [f'{name}\t{wnid}\t0\t32\t44\t62\n' for name, wnid in VAL.items()]
    (root / 'val/val_annotations.txt').write_text(''.join(lines))
    (root / 'wnids.txt').write_text('\n'.join(WNIDS) + '\n')
    (root / 'words.txt').write_text('n01443537\tgoldfish, Carassius auratus\n')


def save(path, grey=False):
    pixels = np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)
    Image.fromarray(pixels).convert('L' if grey else 'RGB').save(path, 'JPEG')


@pytest.fixture
def root(tmp_path):
    write(tmp_path / 'tiny-imagenet-200')
    return tmp_path


def files(dataset):
    infos = [dataset.get_data_info(i) for i in range(len(dataset))]
    return {info['img_path'].rsplit('/', 1)[1]: info['gt_label'] for info in infos}


def test_training_labels_are_the_places_of_the_sorted_wnids(root):
    dataset = TinyImageNet(str(root))
    assert dataset.metainfo['classes'] == ('n01443537', 'n02124075', 'n04067472')
    assert files(dataset) == {f'{wnid}_{i}.JPEG': sorted(WNIDS).index(wnid) for wnid in WNIDS for i in (0, 1)}


def test_validation_labels_come_from_the_annotation_file_and_agree_with_training(root):
    dataset = TinyImageNet(str(root), split='val')
    assert dataset.metainfo == TinyImageNet(str(root)).metainfo
    assert files(dataset) == {name: sorted(WNIDS).index(wnid) for name, wnid in VAL.items()}


def test_grey_and_coloured_files_load_with_three_channels(root):
    pipeline = [dict(type='mmpretrain.LoadImageFromFile'), dict(type='mmpretrain.PackInputs')]
    for split in ('train', 'val'):
        config = dict(type='viewplug.TinyImageNet', data_root=str(root), split=split, pipeline=pipeline)
        dataset = DATASETS.build(config)
        assert {tuple(dataset[i]['inputs'].shape) for i in range(len(dataset))} == {(3, 64, 64)}


def test_the_unpacked_folder_itself_is_a_data_root_too(root):
    assert len(TinyImageNet(str(root / 'tiny-imagenet-200'), split='val')) == 4


def test_missing_files_are_downloaded_checked_and_unpacked(root, tmp_path, monkeypatch):
    packed = tmp_path / 'tiny.zip'
    with zipfile.ZipFile(packed, 'w') as archive:
        for path in sorted((root / 'tiny-imagenet-200').rglob('*')):
            archive.write(path, path.relative_to(root))
    monkeypatch.setattr(TinyImageNet, 'url', packed.as_uri())
    monkeypatch.setattr(TinyImageNet, 'md5', hashlib.md5(packed.read_bytes()).hexdigest())
    assert len(TinyImageNet(str(tmp_path / 'new'))) == 6


def test_mistakes_are_named(root, tmp_path):
    with pytest.raises(FileNotFoundError, match='wnids.txt and 1 more not found .download=False.'):
        TinyImageNet(str(tmp_path / 'none'), download=False)
    with pytest.raises(ValueError, match="'train' or 'val' .*, got 'test'"):
        TinyImageNet(str(root), split='test')
    annotations = root / 'tiny-imagenet-200/val/val_annotations.txt'
    annotations.write_text(annotations.read_text() + 'val_4.JPEG\tn00000000\t0\t0\t1\t1\n')
    with pytest.raises(ValueError, match='val_annotations.txt, line 5 names no class'):
        TinyImageNet(str(root), split='val')
    (root / 'tiny-imagenet-200/wnids.txt').write_text('n99999999\n')
    with pytest.raises(ValueError, match='names n99999999, but there is no'):
        TinyImageNet(str(root))
