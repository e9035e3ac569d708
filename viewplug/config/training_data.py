"""Where the training images of a config are, and another place for them."""

from __future__ import annotations

import os

from mmengine import Config

from viewplug.config.model_config import preprocessor_config
from viewplug.registry import class_name

DOWNLOADABLE = ('CIFAR', 'MNIST', 'STL10', 'TinyImageNet')
GIVE_BGR = ('ShapeScenes', 'TarShards')
GIVE_RGB = ('CIFAR10', 'CIFAR100', 'STL10', 'MNIST', 'FashionMNIST')
"""Data sets that need no loading step, by the order of their channels."""
BGR_TO_RGB = [dict(type='NumpyToPIL', to_rgb=True), dict(type='PILToNumpy')]
"""mmcv's loader gives BGR, and only mmpretrain's way through PIL changes that."""


class UserError(Exception):
    """Something in the config, the data or the command line; its text is all that a user needs to see."""


def check_data(cfg: Config) -> None:
    """Look for the training data where the config expects it, before anything heavy starts."""
    for dataset in leaf_configs(cfg.get('train_dataloader', {}).get('dataset')):
        root = dataset.get('data_root')
        downloads = any(name in str(dataset.type) for name in DOWNLOADABLE)
        if isinstance(root, str) and root and '://' not in root and not downloads and not os.path.isdir(root):
            without_labels = (
                'name another folder (--data-root DIR), or try the config on the embedded data set first (--demo)'
            )
            raise UserError(
                f'no training data at {os.path.abspath(root)} (train_dataloader.dataset.data_root={root!r}): link it '
                f'there (ln -s /path/to/images {root.rstrip("/")}), or '
                + ('set data_root in the config' if cfg.get('val_evaluator') else without_labels)
            )


def set_data_root(cfg: Config, root: str) -> None:
    """Train on a folder of images in place of the config's data set, in the channel order that its pipeline expects.

    Raises:
        UserError: no such folder, or a config that needs labels.
    """
    if cfg.get('val_evaluator'):
        raise UserError(
            f'--data-root {root} is for pre-training, which takes images without labels; this config is evaluated with '
            "labels (val_evaluator): set its data sets' data_root instead (--cfg-options "
            'train_dataloader.dataset.data_root=DIR, and that of val_dataloader)'
        )
    if not os.path.isdir(root):
        raise UserError(f'--data-root: no folder {os.path.abspath(root)}')
    own = leaf_configs(cfg.train_dataloader.dataset)[0]
    pipeline = own.pipeline
    loads = any(step.type.split('.')[-1].startswith('Load') for step in pipeline)
    if not loads:  # the data set gave images itself: in BGR, as what the pre-processor swaps, or in RGB
        preprocessor = preprocessor_config(cfg)
        kind = class_name(own.type)
        bgr = kind in GIVE_BGR or (preprocessor.get('to_rgb') and kind not in GIVE_RGB)
        pipeline = [dict(type='LoadImageFromFile'), *([] if bgr else BGR_TO_RGB), *pipeline]
    cfg.train_dataloader.dataset = dict(type='viewplug.ImageFolder', data_root=root, pipeline=pipeline)
    cfg.in_memory = False  # a folder may hold anything


def leaf_configs(dataset) -> list:
    """The data set configs inside wrappers such as ConcatDataset and RepeatDataset.

    Raises:
        UserError: one without a type, as a key meant for the data set around it makes.
    """
    if not dataset:
        return []
    inner = dataset.get('datasets') or ([dataset.dataset] if 'dataset' in dataset else [])
    if not inner and 'type' not in dataset:
        raise UserError(
            f'train_dataloader.dataset holds a data set without a type, {dict(dataset)}: give its type, or its keys to '
            'the data set around it'
        )
    return [leaf for child in inner for leaf in leaf_configs(child)] if inner else [dataset]
