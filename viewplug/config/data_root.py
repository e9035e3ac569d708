"""A folder of images in place of a config's training data."""

from __future__ import annotations

import os

from mmengine import Config

from viewplug.config.channel_order import BGR_TO_RGB, order_given
from viewplug.config.model_config import preprocessor_config
from viewplug.config.training_data import UserError, leaf_configs
from viewplug.registry import class_name


def set_data_root(cfg: Config, root: str) -> None:
    """Train on a folder of images in place of the config's data set, in the channel order that its pipeline expects.

    Where the file itself keeps its images in memory (one that a run has written down), so are these.

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
    loads = any(class_name(step.type).startswith('Load') for step in pipeline)
    if not loads:  # the data set gave images itself
        turn = BGR_TO_RGB if order_given(own, preprocessor_config(cfg)) == 'RGB' else []
        pipeline = [dict(type='LoadImageFromFile'), *turn, *pipeline]
    folder, dataset = dict(type='viewplug.ImageFolder', data_root=root, pipeline=pipeline), cfg.train_dataloader.dataset
    if class_name(dataset.type) == 'InMemoryDataset':  # its loader takes nothing else
        dataset.dataset = folder
    else:
        cfg.train_dataloader.dataset = folder
    cfg.in_memory = False  # a folder may hold anything
