"""Write scenes of viewplug.ShapeScenes as PNG files with COCO annotations.

    python tools/make_scenes.py data/scenes --num-images 2000 --objects 1 4 --scale 0.15 0.35
    python tools/make_scenes.py data/scenes --num-images 500 --objects 1 4 --scale 0.15 0.35 --split val

gives ``data/scenes/train/000000.png`` ... and ``data/scenes/annotations/instances_train.json``, likewise for ``val``.
mmdet's ``CocoDataset`` needs the class names as well: ``metainfo=dict(classes=...)``, printed at the end.

The same command again changes nothing, and completes what was interrupted; other options need another folder.
"""

import argparse
import functools
import io
import json
import os
import sys
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
from PIL import Image

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # a clone works without `pip install -e .`

from viewplug.datasets.scene_layout import SPLITS, whole_number
from viewplug.datasets.scene_renderer import SceneRenderer
from viewplug.run.command import run_tool


def main(argv: list[str] | None = None) -> int:
    return run_tool(run, parse_args, ('numpy', 'PIL'), argv)


def run(args: argparse.Namespace) -> None:
    options = dict(
        num_classes=args.num_classes,
        image_size=args.size,
        objects_per_image=args.objects,
        object_scale=args.scale,
        seed=args.seed,
        split=args.split,
        upright=args.upright,
        num_backgrounds=args.num_backgrounds,
    )
    whole_number('num_images', args.num_images, 1)
    whole_number('workers', args.workers, 0)
    classes = SceneRenderer(**options).classes
    export(args.out, args.num_images, options, classes, args.workers)
    print(f'metainfo=dict(classes={classes!r})')


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__.partition('\n')[0], formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument('out', type=Path, help='folder to write to')
    parser.add_argument('--num-images', type=int, default=1000)
    parser.add_argument('--size', type=int, default=96, help='height and width of an image, px')
    parser.add_argument('--num-classes', type=int, default=12)
    parser.add_argument('--objects', type=int, nargs=2, default=[1, 1], metavar=('LO', 'HI'), help='objects per image')
    parser.add_argument(
        '--scale', type=float, nargs=2, default=[0.25, 0.4], metavar=('LO', 'HI'), help='side of an object / image side'
    )
    parser.add_argument('--split', choices=SPLITS, default='train')
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument('--num-backgrounds', type=int, default=12, help='1 to 12')
    parser.add_argument('--upright', action='store_true', help='do not rotate objects')
    parser.add_argument('--workers', type=int, default=0, help='processes to render in; 0: this one')
    return parser.parse_args(argv)


def export(out: Path, num_images: int, options: dict, classes: tuple[str, ...], workers: int) -> None:
    """Write one split below ``out``.

    Raises:
        ValueError: the folder holds something else.
    """
    split = options['split']
    images, annotations = out / split, out / 'annotations'
    # Written before the first image: it tells an interrupted export, to be completed, from somebody else's files.
    receipt = annotations / f'options_{split}.json'
    wanted = json.dumps(dict(options, num_images=num_images))
    if not receipt.exists():
        if images.exists() and any(images.iterdir()):
            raise ValueError(f'{images} is not empty and was not written by this tool; give another folder')
    elif receipt.read_text() != wanted:
        raise ValueError(f'{images} holds scenes of other options, {receipt.read_text()}; give another folder')
    images.mkdir(parents=True, exist_ok=True)
    annotations.mkdir(exist_ok=True)
    write(receipt, wanted.encode())

    records, objects = [], []
    for index, found in enumerate(rendered(num_images, functools.partial(export_scene, images, options), workers)):
        name = f'{index:06d}.png'
        records.append(dict(id=index, file_name=name, height=options['image_size'], width=options['image_size']))
        objects += [dict(id=len(objects) + k + 1, image_id=index, iscrowd=0, **one) for k, one in enumerate(found)]
        if (index + 1) % max(num_images // 10, 1) == 0 or index + 1 == num_images:
            print(f'{images}: {index + 1} of {num_images}', flush=True)
    categories = [dict(id=label + 1, name=name) for label, name in enumerate(classes)]
    coco = dict(info=json.loads(wanted), images=records, annotations=objects, categories=categories)
    write(annotations / f'instances_{split}.json', json.dumps(coco).encode())


def rendered(num_images: int, render, workers: int):
    """Results of ``render`` for every index, in order."""
    if workers == 0:
        yield from map(render, range(num_images))
    else:
        with ProcessPoolExecutor(workers) as pool:
            yield from pool.map(render, range(num_images), chunksize=32)


def export_scene(images: Path, options: dict, index: int) -> list[dict]:
    """Write one image; returns what COCO wants to know of its objects."""
    scene = renderer(json.dumps(options)).render(index)
    image = io.BytesIO()
    Image.fromarray(scene.image).save(image, 'PNG')
    write(images / f'{index:06d}.png', image.getvalue())
    return [
        dict(
            category_id=int(label) + 1,
            bbox=[float(x0), float(y0), float(x1 - x0), float(y1 - y0)],
            area=int(mask.sum()),
            segmentation=dict(size=list(mask.shape), counts=run_lengths(mask)),
        )
        for label, (x0, y0, x1, y1), mask in zip(scene.labels, scene.boxes, scene.masks, strict=True)
    ]


@functools.cache
def renderer(options: str) -> SceneRenderer:
    """One renderer for all scenes that a process draws."""
    return SceneRenderer(**json.loads(options))


def run_lengths(mask: np.ndarray) -> list[int]:
    """COCO's uncompressed RLE: lengths of runs down the columns, the first of zeros (maybe none)."""
    flat = mask.ravel(order='F')
    starts = np.flatnonzero(flat[1:] != flat[:-1]) + 1
    runs = np.diff(np.concatenate([[0], starts, [flat.size]])).tolist()
    return [0, *runs] if flat[0] else runs


def write(path: Path, content: bytes) -> None:
    """All of it or nothing, whoever else writes the same."""
    part = path.with_suffix(f'.{os.getpid()}.part')
    part.write_bytes(content)
    os.replace(part, path)


if __name__ == '__main__':
    sys.exit(main())
