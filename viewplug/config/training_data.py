"""Where the training images of a config are."""

from __future__ import annotations

import os

from mmengine import Config

DOWNLOADABLE = ('CIFAR', 'MNIST', 'STL10', 'TinyImageNet')


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
