"""What a pre-trained network is worth when few labels are there: the configs of each way to use them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mmengine import Config

from viewplug.config.model_config import preprocessor_config
from viewplug.config.schedule import set_epochs
from viewplug.datasets.leaves import leaf_datasets
from viewplug.evaluation.linear import linear_config
from viewplug.evaluation.linear_data import labelled_datasets, single_view_size
from viewplug.evaluation.provenance import digest_of, without
from viewplug.registry import DATASETS

MODES = ('linear', 'fixed', 'finetune', 'supervised')
"""A linear classifier on the frozen backbone; a deep one on its frozen maps; the whole network from the pre-trained
weights; the whole network from random ones."""


PLACES = ('data_root', 'data_prefix', 'ann_file', 'classes_file', 'index_root', 'backend_args', 'file_client_args')
"""Where a data set lies."""
LOADING = (
    *('num_workers', 'persistent_workers', 'prefetch_factor', 'pin_memory', 'pin_memory_device', 'timeout'),
    *('multiprocessing_context', 'preload', 'lazy_init', 'serialize_data', 'download', 'max_open'),
)
"""How it is read."""


def labels_of(dataset: dict) -> list[int]:
    """Labels of all images of a data set config, which must not be a wrapper.

    Raises:
        ValueError: it is one, for positions in it are not positions in a file.
    """
    if 'dataset' in dataset or 'datasets' in dataset:
        raise ValueError(f'parts of the labels are drawn from a plain data set, not from a {dataset["type"]}')
    bare = {key: value for key, value in dataset.items() if key != 'preload'}  # no image is looked at
    (leaf,) = leaf_datasets(DATASETS.build({**bare, 'pipeline': [], 'lazy_init': True}))
    leaf.full_init()
    return [int(leaf.get_data_info(place)['gt_label']) for place in range(len(leaf))]


def ingredients(
    pretraining: Config,
    checkpoint: str,
    labels: list[int],
    protocols: Sequence[Path],
    options: Mapping[str, Any] | None = None,
) -> dict:
    """What an accuracy follows from besides the options: checkpoint, protocols, network and data, as digests.

    Of data count the labels and the settings without :data:`PLACES` and :data:`LOADING`, so a folder may be moved.

    Args:
        labels: of all images of the labelled training set (:func:`labels_of`).
        protocols: their files.
        options: ``--cfg-options`` for the classifier.
    """
    train_set, val_set = labelled_datasets(pretraining, options)
    settings = preprocessor_config(pretraining)
    val = leaf_datasets(DATASETS.build(dict(val_set, lazy_init=True)))
    for leaf in val:
        leaf.full_init()
    val_labels = [leaf.get_data_info(place).get('gt_label') for leaf in val for place in range(len(leaf))]
    return dict(
        checkpoint=f'{Path(checkpoint).name} ({digest_of(Path(checkpoint))})',
        protocols=digest_of([_counting(Config.fromfile(path).to_dict()) for path in protocols]),
        model=digest_of([pretraining.model.backbone, settings, single_view_size(pretraining)]),
        train_data=digest_of([_counting(train_set), labels]),
        val_data=digest_of([_counting(val_set), val_labels]),
    )


def used_in(mode: str, made_with: dict) -> dict:
    """Without what does not count in this mode, or in none."""
    unused = () if mode == 'fixed' else ('blocks', 'channels')
    unused += ('checkpoint', 'prefix') if mode == 'supervised' else ()
    return {key: _counting(value) for key, value in made_with.items() if key not in unused}


def _counting(settings: Any) -> Any:
    """Those that a result can follow from."""
    return without(settings, lambda key: key.split('.')[-1] in (*PLACES, *LOADING))


def few_label_config(
    mode: str,
    pretraining: Config,
    checkpoint: str,
    protocol: Config,
    indices: list[int],
    steps: int | None = None,
    blocks: int = 11,
    channels: int = 512,
    **kwargs,
) -> Config:
    """The config of a classifier that learns from the labelled images ``indices`` alone.

    Args:
        mode: one of :data:`MODES`.
        pretraining, checkpoint, protocol, kwargs: see :func:`viewplug.evaluation.linear.linear_config`.
        indices: positions in the labelled training set.
        steps: length of training in steps, in place of the protocol's epochs. A protocol may name its
            ``epochs_below_10_percent`` beside ``max_epochs``; the caller decides.
        blocks, channels: of the classifier on frozen maps (mode 'fixed').

    Raises:
        ValueError: an unknown mode, or features that are no maps where maps are needed.
    """
    if mode not in MODES:
        raise ValueError(f'--modes are some of {", ".join(MODES)}, got {mode!r}')
    cfg = linear_config(pretraining, checkpoint, protocol, **kwargs)
    cfg.train_dataloader.dataset.indices = indices
    if mode == 'fixed':
        if cfg.model.neck is None:
            raise ValueError("--modes fixed needs a backbone that gives maps, and this one's last output is a vector")
        cfg.model.neck = dict(
            type='viewplug.ResidualNeck', in_channels=cfg.model.head.in_channels, channels=channels, num_blocks=blocks
        )
        cfg.model.head.in_channels = channels
    if mode in ('finetune', 'supervised'):
        cfg.model.type = 'viewplug.TunedLinearClassifier'
        cfg.custom_hooks = []
    if mode == 'supervised':
        cfg.model.backbone.pop('init_cfg')
    if steps is not None:
        a_pass = math.ceil(len(indices) / cfg.train_dataloader.batch_size / kwargs.get('world_size', 1))
        set_epochs(cfg, max(1, math.ceil(steps / a_pass)))
    cfg.train_cfg.val_interval = cfg.train_cfg.max_epochs  # at the end only
    return cfg
