import importlib.util
import json
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from viewplug.datasets import ShapeScenes

SCRIPT = Path(__file__).parents[2] / 'tools' / 'make_scenes.py'
OPTIONS = ['--num-images', '6', '--objects', '2', '3', '--scale', '0.15', '0.3', '--size', '64']
SAME = dict(num_images=6, objects_per_image=(2, 3), object_scale=(0.15, 0.3), image_size=64)


@pytest.fixture(scope='module')
def tool():
    spec = importlib.util.spec_from_file_location('make_scenes', SCRIPT)
    module = sys.modules['make_scenes'] = importlib.util.module_from_spec(spec)  # workers unpickle by this name
    spec.loader.exec_module(module)
    yield module
    del sys.modules['make_scenes']


def contents(folder):
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob('*') if path.is_file()}


def test_files_hold_what_the_data_set_shows(tool, tmp_path):
    assert tool.main([str(tmp_path), *OPTIONS, '--split', 'val']) == 0
    dataset = ShapeScenes(split='val', **SAME)
    for index in range(6):
        image = np.array(Image.open(tmp_path / 'val' / f'{index:06d}.png'))
        assert np.array_equal(image, dataset.render(index).image)
    coco = json.loads((tmp_path / 'annotations' / 'instances_val.json').read_text())
    assert [category['name'] for category in coco['categories']] == list(dataset.metainfo['classes'])


def test_the_same_command_again_changes_nothing_with_any_number_of_workers(tool, tmp_path):
    tool.main([str(tmp_path), *OPTIONS])
    before = contents(tmp_path)
    assert len(before) == 8
    (tmp_path / 'train' / '000003.png').unlink()
    (tmp_path / 'annotations' / 'instances_train.json').unlink()
    assert tool.main([str(tmp_path), *OPTIONS, '--workers', '2']) == 0
    assert contents(tmp_path) == before


def test_a_folder_of_other_scenes_or_files_is_left_alone(tool, tmp_path, capsys):
    tool.main([str(tmp_path), *OPTIONS])
    before = contents(tmp_path)
    assert tool.main([str(tmp_path), *OPTIONS, '--seed', '1']) == 2
    assert 'holds scenes of other options' in capsys.readouterr().err
    (tmp_path / 'val').mkdir()
    (tmp_path / 'val' / 'mine.txt').write_text('mine')
    assert tool.main([str(tmp_path), *OPTIONS, '--split', 'val']) == 2
    assert 'was not written by this tool' in capsys.readouterr().err
    assert {name: data for name, data in contents(tmp_path).items() if name.parts[0] != 'val'} == before


def test_a_wrong_argument_is_answered_with_a_sentence(tool, tmp_path, capsys):
    assert tool.main([str(tmp_path / 'new'), '--scale', '0.5', '1.5']) == 2
    assert 'object_scale must be a pair' in capsys.readouterr().err
    assert not (tmp_path / 'new').exists()


def test_pycocotools_decodes_the_masks(tool, tmp_path):
    coco_api = pytest.importorskip('pycocotools.coco')
    tool.main([str(tmp_path), *OPTIONS])
    coco = coco_api.COCO(str(tmp_path / 'annotations' / 'instances_train.json'))
    dataset = ShapeScenes(**SAME)
    for index in range(6):
        annotations = coco.loadAnns(coco.getAnnIds(imgIds=[index]))
        masks = np.stack([coco.annToMask(one) for one in annotations])
        assert np.array_equal(masks, dataset.render(index).masks)
        assert [one['area'] for one in annotations] == masks.sum((1, 2)).tolist()


def test_mmdet_loads_boxes_that_agree_with_its_masks(tool, tmp_path):
    pytest.importorskip('mmcv.ops')
    mmdet_datasets = pytest.importorskip('mmdet.datasets')
    tool.main([str(tmp_path), *OPTIONS])
    scenes = ShapeScenes(**SAME)
    dataset = mmdet_datasets.CocoDataset(
        data_root=str(tmp_path),
        ann_file='annotations/instances_train.json',
        data_prefix=dict(img='train/'),
        metainfo=dict(classes=scenes.metainfo['classes']),
        pipeline=[
            dict(type='mmdet.LoadImageFromFile'),
            dict(type='mmdet.LoadAnnotations', with_bbox=True, with_mask=True),
        ],
    )
    assert len(dataset) == 6
    for index in range(6):
        sample, scene = dataset[index], scenes[index]
        assert np.array_equal(sample['img'], scene['img'])
        assert np.array_equal(sample['gt_bboxes'].tensor.numpy(), scene['gt_bboxes'])
        assert sample['gt_bboxes_labels'].tolist() == scene['gt_bboxes_labels'].tolist()
        assert np.array_equal(sample['gt_masks'].masks, scene['gt_masks'])
        assert np.array_equal(sample['gt_masks'].get_bboxes('hbox').tensor.numpy(), scene['gt_bboxes'])


def test_two_exports_of_the_same_scenes_do_not_take_each_others_files(tool, tmp_path, monkeypatch):
    real, process = tool.os.replace, iter([1, 2])
    monkeypatch.setattr(tool.os, 'getpid', lambda: next(process))

    def replace(part, path):
        monkeypatch.setattr(tool.os, 'replace', real)
        tool.write(tmp_path / 'a.png', b'same')  # the other process, meanwhile
        real(part, path)

    monkeypatch.setattr(tool.os, 'replace', replace)
    tool.write(tmp_path / 'a.png', b'same')
    assert contents(tmp_path) == {Path('a.png'): b'same'}
