"""Folders of one-coloured images, a sub-folder for each class."""

from pathlib import Path

import numpy as np
from PIL import Image

COLOURS = dict(cat=(220, 30, 30), dog=(30, 220, 30), fox=(30, 30, 220), owl=(220, 220, 30))
PIPELINE = [dict(type='mmcv.LoadImageFromFile'), dict(type='mmpretrain.PackInputs')]


def make_folder(root: Path, classes=tuple(COLOURS), number: int = 3, size: int = 32) -> Path:
    """``number`` PNGs of each class below ``root``."""
    rng = np.random.default_rng(len(root.name))
    for name in classes:
        (root / name).mkdir(parents=True, exist_ok=True)
        for index in range(number):
            pixels = np.clip(COLOURS[name] + rng.integers(-20, 20, (size, size, 3)), 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(root / name / f'{index}.png')
    return root


def image_folder(root: Path, **kwargs) -> dict:
    return dict(type='viewplug.ImageFolder', data_root=str(root), with_label=True, pipeline=PIPELINE, **kwargs)


def folder_loader(root: Path, **kwargs) -> dict:
    return dict(batch_size=4, num_workers=0, dataset=image_folder(root, **kwargs))
