"""``views='device'``: a config's views made in batch on the device in place of one by one in loader workers."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping

from mmengine import Config
from mmengine.dataset import default_collate, pseudo_collate
from mmpretrain.datasets.transforms import PackInputs

from viewplug.batch_views.steps import PACKAGES, package_of
from viewplug.config.model_config import preprocessor_config
from viewplug.nearest import near
from viewplug.registry import class_name
from viewplug.transforms.multi_view import MultiView
from viewplug.transforms.pack_views import EXTRA_KEYS, PackViews
from viewplug.transforms.query_crops import QueryCrops

MOVED = ('MultiView', 'QueryCrops', 'BlockMasks')
REPLACED = ('ViewsDataPreprocessor', 'SelfSupDataPreprocessor')
OF_MMENGINE = ('type', '_scope_')
"""Keys of a step that are no arguments; parts of another package's config have a scope."""
PACKING = ('PackInputs', 'PackViews')
COLLATE = {'default_collate': default_collate, 'pseudo_collate': pseudo_collate}


def to_device_views(cfg: Config, in_memory: bool = False) -> None:
    """Move the ``MultiView`` of the training pipeline into the data preprocessor, ``viewplug.BatchViews``.

    What travels beside the views moves with them: ``viewplug.QueryCrops`` and ``viewplug.BlockMasks``.

    Args:
        cfg: a pre-training config of ``viewplug.Siamese``, changed in place. Moving it twice changes nothing more.
        in_memory: keep all (whole, equally large) images in memory: no loader workers. Steps before MultiView run
            once, so random ones there are frozen.

    Raises:
        ValueError: another model, no MultiView in the pipeline of the data set, which must not be a wrapper, or one
            that is a class of somebody else.
    """
    if class_name(cfg.model.type) != 'Siamese':
        raise ValueError(f"views='device' is for model.type='viewplug.Siamese', got {cfg.model.type!r}")
    preprocessor = preprocessor_config(cfg)
    if preprocessor.get('type') != 'viewplug.BatchViews':
        _move_views(cfg, preprocessor)
    if in_memory and cfg.train_dataloader.dataset.type != 'viewplug.InMemoryDataset':
        _move_images(cfg.train_dataloader)


def _move_views(cfg: Config, preprocessor: dict) -> None:
    loader = cfg.train_dataloader
    steps = loader.dataset.get('pipeline', [])
    _check_ours(steps, preprocessor)
    places = [place for place, step in enumerate(steps) if class_name(step['type']) == 'MultiView']
    if len(places) != 1:
        raise ValueError(
            "views='device' needs one MultiView in train_dataloader.dataset.pipeline, got "
            f'{[class_name(step["type"]) for step in steps]}'
        )
    multi_view = steps[places[0]]
    for place, step in enumerate(steps):
        kind = {'MultiView': MultiView, 'PackInputs': PackInputs, 'PackViews': PackViews}.get(class_name(step['type']))
        if kind is not None and package_of(step) in ('viewplug', 'mmpretrain'):  # others' have arguments of their own
            _check_arguments(f'train_dataloader.dataset.pipeline.{place}', step, kind)
    num_views = multi_view['num_views']
    cfg.data_preprocessor = {
        **preprocessor,
        'type': 'viewplug.BatchViews',
        'num_views': num_views,
        'transforms': multi_view['transforms'],
        **{key: multi_view[key] for key in ('shared_flip',) if key in multi_view},
        **_beside(steps),
    }
    cfg.model.pop('data_preprocessor', None)
    loader.dataset.pipeline = [step for step in steps if class_name(step['type']) not in MOVED]
    _check_collate(loader.get('collate_fn'))
    loader.collate_fn = dict(type='pseudo_collate')


def _check_ours(steps: list[dict], preprocessor: dict) -> None:
    """Refuse what would be put aside for a class of ours, and may do something else."""
    kinds = {f'train_dataloader.dataset.pipeline.{place}': (step, MOVED) for place, step in enumerate(steps)}
    if 'type' in preprocessor:
        kinds['data_preprocessor'] = preprocessor, REPLACED
    for key, (part, ours) in kinds.items():
        name = class_name(part['type'])
        alike = name.endswith(MOVED) or ours is REPLACED
        if alike and (name not in ours or package_of(part) not in PACKAGES):
            raise ValueError(
                f"views='device' puts BatchViews in place of viewplug's and mmpretrain's {', '.join(ours)}, and "
                f"{key}.type={part['type']!r} is another; set views='sample'"
            )


def _check_arguments(place: str, step: dict, kind: type) -> None:
    """Of a step that is not built, or maybe not."""
    known = [*OF_MMENGINE, *inspect.signature(kind).parameters]
    unknown = set(step) - set(known)
    if unknown:
        raise ValueError(
            f'{place}: {kind.__module__.split(".")[0]}.{kind.__name__} has no argument {", ".join(sorted(unknown))}'
            f'{near(min(unknown), known)}'
        )


def _check_collate(collate: Mapping | Callable | None) -> None:
    """Refuse to put our own in place of one that does something else."""
    if isinstance(collate, Mapping):
        collate = {key: value for key, value in collate.items() if key != '_scope_'}
    kind = collate['type'] if isinstance(collate, Mapping) and set(collate) == {'type'} else collate
    known = class_name(kind) in COLLATE if isinstance(kind, str) else kind in COLLATE.values()
    if collate and not known:
        raise ValueError(
            f"views='device' puts a function of its own in place of {' or '.join(COLLATE)}, and "
            f"train_dataloader.collate_fn={collate} is another; set views='sample'"
        )


def _beside(steps: list[dict]) -> dict:
    """``queries`` and ``masks`` of ``viewplug.BatchViews``, as the steps of the pipeline say them."""
    found = {}
    for step in steps:
        settings = {key: value for key, value in step.items() if key not in OF_MMENGINE}
        if class_name(step['type']) == 'QueryCrops':
            try:
                whole = inspect.signature(QueryCrops).bind(**settings)
            except TypeError as error:
                raise ValueError(f'viewplug.QueryCrops: {error}') from None
            whole.apply_defaults()
            number, own = whole.arguments.pop('num'), whole.arguments.pop('transforms')
            crop = dict(type='viewplug.RandomResizedCrop', **whole.arguments)
            found['queries'] = dict(num=number, transforms=[crop, *own])
        elif class_name(step['type']) == 'BlockMasks':
            found['masks'] = settings
    return found


def own_extras(steps: list[dict]) -> list[str]:
    """What a pipeline packs beside the views that ``BatchViews`` does not make."""
    keys = [key for step in steps if class_name(step['type']) in PACKING for key in step.get('extra_keys', ())]
    return [key for key in keys if key not in EXTRA_KEYS]


def _move_images(loader: dict) -> None:
    lost = own_extras(loader.dataset.pipeline)
    if lost:
        raise ValueError(
            f'in_memory=True keeps images only, and PackViews.extra_keys has {", ".join(lost)} beside them: '
            'leave in_memory out'
        )
    for place, step in enumerate(loader.dataset.pipeline):
        if class_name(step['type']).endswith(PACKING) and package_of(step) not in PACKAGES:
            raise ValueError(
                'in_memory=True keeps images only, without steps that pack, and '
                f'train_dataloader.dataset.pipeline.{place}.type={step["type"]!r} may do more: leave in_memory out'
            )
    loader.dataset.pipeline = [
        step for step in loader.dataset.pipeline if not class_name(step['type']).endswith(PACKING)
    ]
    loader.dataset = dict(type='viewplug.InMemoryDataset', dataset=loader.dataset)
    loader.collate_fn = dict(type='viewplug.take_batch')
    loader.num_workers = 0
    for key in ('persistent_workers', 'pin_memory', 'prefetch_factor'):
        loader.pop(key, None)
