"""Which labelled images a pre-training config knows, and how a classifier sees them."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from itertools import takewhile
from typing import Any

from mmengine import Config

from viewplug.config.model_config import preprocessor_config
from viewplug.config.options import merge_options
from viewplug.registry import class_name

TO_A_SIZE = ('Resize', 'Crop', 'Pack')
"""Parts of the names of steps, from the first of which on a pipeline shapes and packs what it has loaded."""


def labelled_datasets(cfg: Config, options: Mapping[str, Any] | None = None) -> tuple[dict, dict]:
    """Configs of the labelled training and validation sets: all images of the two that the run's ``KNNHook`` reads.

    The hook is looked for in ``custom_hooks``; where none runs, the config's top-level ``knn_hook`` says the same.

    Args:
        cfg: of the run.
        options: ``--cfg-options`` for the classifier's config, of which those for its data sets say where these lie
            now. Those for steps of pipelines, which are others there, are passed over.

    Raises:
        ValueError: there is neither.
    """
    hooks = [hook for hook in cfg.get('custom_hooks') or [] if str(hook.get('type')).endswith('KNNHook')]
    hooks += [cfg.knn_hook] if 'knn_hook' in cfg else []
    if not hooks:
        raise ValueError(
            'the config of the run knows no labelled data: linear evaluation takes the data sets of its '
            'viewplug.KNNHook (custom_hooks) or of a top-level knn_hook=dict(train_dataloader=..., '
            'val_dataloader=...); add one to the dumped config in the work dir'
        )
    bank, val = (_read_from_disk(hooks[0][f'{split}_dataloader'].dataset) for split in ('train', 'val'))
    pretraining = cfg.train_dataloader.dataset
    for leaf in _leaves(bank):
        leaf.pop('indices', None)  # kNN may use some of the images; a classifier is trained on all
        more = max((seen.get('num_images', 0) for seen in _leaves(pretraining) if seen.type == leaf.type), default=0)
        if more > leaf.get('num_images', more):
            leaf.num_images = more
    for leaf in (*_leaves(bank), *_leaves(val)):
        if not leaf.pipeline or not leaf.pipeline[-1].type.endswith('PackInputs'):
            leaf.pipeline = [*leaf.pipeline, dict(type='mmpretrain.PackInputs')]
    loaders = Config(dict(train_dataloader=dict(dataset=bank), val_dataloader=dict(dataset=val)))
    of_data = {key: value for key, value in (options or {}).items() if key.split('.')[0] in loaders}
    merge_options(loaders, {key: value for key, value in of_data.items() if 'pipeline' not in key.split('.')})
    return loaders.train_dataloader.dataset, loaders.val_dataloader.dataset


@contextmanager
def found_where_they_were() -> Iterator[None]:
    """Around what reads :func:`labelled_datasets`: a folder that is gone is a ValueError with the options that tell."""
    try:
        yield
    except FileNotFoundError as error:
        raise ValueError(
            f"{error} It is of the labelled data of the run's KNNHook; if they lie elsewhere now, say where with "
            '--cfg-options train_dataloader.dataset.data_root=DIR val_dataloader.dataset.data_root=DIR'
        ) from error


def training_pipeline(dataset: dict, size: int) -> dict:
    """``dataset`` with a linear classifier's augmentation: a crop of 0.08 to 1 of the image, and a flip.

    What comes before a resize or a crop in its own pipeline stays: loading, and another order of channels.
    """
    dataset = copy.deepcopy(dataset)
    for leaf in _leaves(dataset):
        load = list(takewhile(lambda step: not any(part in class_name(step.type) for part in TO_A_SIZE), leaf.pipeline))
        load = [*load, *_to_numpy(load, leaf.pipeline)]
        leaf.pipeline = [
            *load,
            dict(type='mmpretrain.RandomResizedCrop', scale=size, crop_ratio_range=(0.08, 1.0), backend='pillow'),
            dict(type='mmpretrain.RandomFlip', prob=0.5, direction='horizontal'),
            dict(type='mmpretrain.PackInputs'),
        ]
    return dataset


def _to_numpy(kept: list, pipeline: list) -> list:
    """The step of ``pipeline`` that turns images back where ``kept`` leaves them to PIL."""
    names = [class_name(step.type) for step in kept]
    left = 'NumpyToPIL' in names and 'PILToNumpy' not in names
    return [step for step in pipeline if left and class_name(step.type) == 'PILToNumpy'][:1]


def single_view_size(cfg: Config) -> int:
    """Side of the first view of the run, pixels.

    Raises:
        ValueError: no transform of the run says it.
    """
    in_batch = preprocessor_config(cfg).get('transforms')  # not the query crops
    places = [cfg.train_dataloader.dataset, in_batch]
    for step in typed_dicts(places):
        if str(step.type).endswith('Crop') and 'scale' in step:
            return int(step.scale if isinstance(step.scale, int | float) else step.scale[0])
    raise ValueError(
        'no crop with a scale in train_dataloader.dataset.pipeline (nor in the data_preprocessor), so the size of '
        'views is unknown'
    )


def _read_from_disk(dataset: dict) -> dict:
    """Without ``viewplug.InMemoryDataset``, whose images have left their pipeline."""
    while str(dataset.type).endswith('InMemoryDataset'):
        dataset = dataset.dataset
    return copy.deepcopy(dataset)


def _leaves(dataset: dict) -> list:
    inner = dataset.get('datasets') or ([dataset.dataset] if 'dataset' in dataset else [])
    return [leaf for child in inner for leaf in _leaves(child)] if inner else [dataset]


def typed_dicts(node) -> Iterator:
    """All dicts with a type inside ``node``, outer and earlier ones first."""
    if isinstance(node, dict):
        if 'type' in node:
            yield node
        node = list(node.values())
    if isinstance(node, list | tuple):
        for child in node:
            yield from typed_dicts(child)
