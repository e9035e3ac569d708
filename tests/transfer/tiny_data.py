"""Two images with two boxes each, in the on-disk formats of the downstream data sets."""

import importlib.util
import json
from pathlib import Path
from xml.etree import ElementTree

import cv2
import numpy as np
from cityscapesscripts.helpers.labels import name2label
from cityscapesscripts.preparation.json2labelImg import json2labelImg

HEIGHT, WIDTH = 64, 96
BOXES = ((8, 8, 40, 40), (48, 16, 88, 56))  # x0, y0, x1, y1; x1 and y1 excluded


def image(index: int) -> np.ndarray:
    """Noise with a bright rectangle at each box."""
    picture = np.random.default_rng(index).integers(0, 100, (HEIGHT, WIDTH, 3), dtype=np.uint8)
    for number, (x0, y0, x1, y1) in enumerate(BOXES):
        picture[y0:y1, x0:x1, number] = 255
    return picture


def write_image(path: Path, picture: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), picture)


def labels(first: int, second: int, background: int) -> np.ndarray:
    """(H, W) uint8 map of classes."""
    found = np.full((HEIGHT, WIDTH), background, np.uint8)
    for (x0, y0, x1, y1), value in zip(BOXES, (first, second), strict=True):
        found[y0:y1, x0:x1] = value
    return found


def write_voc(root: Path) -> None:
    """VOCdevkit with VOC2007 and VOC2012: XML annotations, and the segmentation tree of VOC2012."""
    for year, splits in ((2007, ('trainval', 'test')), (2012, ('trainval',))):
        folder = root / f'VOC{year}'
        for split in splits:
            names = [f'{year}_{split}_{index}' for index in range(2)]
            _write_lines(folder / f'ImageSets/Main/{split}.txt', names)
            for index, name in enumerate(names):
                write_image(folder / f'JPEGImages/{name}.jpg', image(index))
                _write_voc_xml(folder / f'Annotations/{name}.xml')
    folder = root / 'VOC2012'
    for split in ('train', 'val'):
        _write_lines(folder / f'ImageSets/Segmentation/{split}.txt', [f'seg_{split}_{index}' for index in range(2)])
        for index in range(2):
            write_image(folder / f'JPEGImages/seg_{split}_{index}.jpg', image(index))
            found = labels(1, 12, 0)
            found[8:10, 8:40] = 255  # VOC's borders
            write_image(folder / f'SegmentationClass/seg_{split}_{index}.png', found)


def _write_voc_xml(path: Path) -> None:
    """Two dogs, the second of them difficult."""
    root = ElementTree.Element('annotation')
    size = ElementTree.SubElement(root, 'size')
    for key, value in (('width', WIDTH), ('height', HEIGHT), ('depth', 3)):
        ElementTree.SubElement(size, key).text = str(value)
    for difficult, (x0, y0, x1, y1) in enumerate(BOXES):
        found = ElementTree.SubElement(root, 'object')
        ElementTree.SubElement(found, 'name').text = 'dog'
        ElementTree.SubElement(found, 'difficult').text = str(difficult)
        box = ElementTree.SubElement(found, 'bndbox')
        for key, value in (('xmin', x0 + 1), ('ymin', y0 + 1), ('xmax', x1), ('ymax', y1)):  # counted from 1
            ElementTree.SubElement(box, key).text = str(value)
    path.parent.mkdir(parents=True, exist_ok=True)
    ElementTree.ElementTree(root).write(path)


def write_coco(root: Path, names: tuple[str, ...]) -> None:
    categories = [dict(id=number + 1, name=name) for number, name in enumerate(names)]
    for split in ('train', 'val'):
        _write_instances(root, split, f'instances_{split}2017.json', categories, {})


def write_lvis(root: Path, names: tuple[str, ...]) -> None:
    """LVIS v0.5: COCO's, and for each image what was looked for and not found, for each class how frequent it is."""
    categories = [
        dict(id=number + 1, name=name, frequency='rcf'[number % 3], image_count=2, instance_count=2)
        for number, name in enumerate(names)
    ]
    extra = dict(not_exhaustive_category_ids=[], neg_category_ids=[3])
    for split in ('train', 'val'):
        _write_instances(root, split, f'lvis_v0.5_{split}.json', categories, extra)


def _write_instances(root: Path, split: str, name: str, categories: list[dict], extra: dict) -> None:
    images, annotations = [], []
    for index in range(2):
        file_name = f'{index:012d}.jpg'
        write_image(root / f'{split}2017' / file_name, image(index))
        images.append(dict(id=index + 1, file_name=file_name, height=HEIGHT, width=WIDTH, **extra))
        for number, (x0, y0, x1, y1) in enumerate(BOXES):
            annotations.append(
                dict(
                    id=2 * index + number + 1,
                    image_id=index + 1,
                    category_id=number + 1,
                    iscrowd=0,
                    bbox=[x0, y0, x1 - x0, y1 - y0],
                    area=(x1 - x0) * (y1 - y0),
                    segmentation=[[x0, y0, x1, y0, x1, y1, x0, y1]],
                )
            )
    path = root / 'annotations' / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(dict(info={}, images=images, annotations=annotations, categories=categories)))


def write_cityscapes(root: Path) -> None:
    """Images, polygons and instances; label maps by Cityscapes' own script, COCO's json by mmdet's converter."""
    found = importlib.util.find_spec('mmdet').submodule_search_locations[0]
    spec = importlib.util.spec_from_file_location('converter', f'{found}/.mim/tools/dataset_converters/cityscapes.py')
    converter = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(converter)
    for split in ('train', 'val'):
        for index in range(2):
            name = f'town/town_{index:06d}_000019'
            write_image(root / f'leftImg8bit/{split}/{name}_leftImg8bit.png', image(index))
            objects = [dict(label='road', polygon=[[0, 0], [WIDTH, 0], [WIDTH, HEIGHT], [0, HEIGHT]])]
            for label, (x0, y0, x1, y1) in zip(('person', 'car'), BOXES, strict=True):
                objects.append(dict(label=label, polygon=[[x0, y0], [x1, y0], [x1, y1], [x0, y1]]))
            stem = root / f'gtFine/{split}/{name}_gtFine'
            stem.parent.mkdir(parents=True, exist_ok=True)
            polygons = f'{stem}_polygons.json'
            Path(polygons).write_text(json.dumps(dict(imgHeight=HEIGHT, imgWidth=WIDTH, objects=objects)))
            json2labelImg(polygons, f'{stem}_labelIds.png', 'ids')
            json2labelImg(polygons, f'{stem}_labelTrainIds.png', 'trainIds')
            # json2instanceImg writes a PNG of 32 bits, which today's pillow refuses: id * 1000 + number, others the id.
            instances = np.full((HEIGHT, WIDTH), name2label['road'].id, np.uint16)
            for label, (x0, y0, x1, y1) in zip(('person', 'car'), BOXES, strict=True):
                instances[y0:y1, x0:x1] = name2label[label].id * 1000
            write_image(Path(f'{stem}_instanceIds.png'), instances)
        files = converter.collect_files(str(root / f'leftImg8bit/{split}'), str(root / f'gtFine/{split}'))
        (root / 'annotations').mkdir(exist_ok=True)
        converter.cvt_annotations(
            [converter.load_img_info(one) for one in files],
            str(root / f'annotations/instancesonly_filtered_gtFine_{split}.json'),
        )


def write_ade20k(root: Path) -> None:
    for split in ('training', 'validation'):
        for index in range(2):
            write_image(root / f'images/{split}/ADE_{split}_{index}.jpg', image(index))
            write_image(root / f'annotations/{split}/ADE_{split}_{index}.png', labels(13, 21, 0))


def _write_lines(path: Path, lines: list[str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text('\n'.join(lines) + '\n')
