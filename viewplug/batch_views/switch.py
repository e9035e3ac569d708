"""``views='device'``: a config's views made in batch on the device in place of one by one in loader workers."""

from __future__ import annotations

from mmengine import Config


def to_device_views(cfg: Config, in_memory: bool = False) -> None:
    """Move the ``MultiView`` of the training pipeline into the data preprocessor, ``viewplug.BatchViews``.

    Args:
        cfg: a pre-training config of ``viewplug.Siamese``, changed in place. Moving it twice changes nothing more.
        in_memory: keep all (whole, equally large) images in memory: no loader workers. Steps before MultiView run
            once, so random ones there are frozen.

    Raises:
        ValueError: another model, or no MultiView in the pipeline of the data set, which must not be a wrapper.
    """
    if cfg.model.type != 'viewplug.Siamese':
        raise ValueError(f"views='device' is for model.type='viewplug.Siamese', got {cfg.model.type!r}")
    preprocessor = cfg.get('data_preprocessor') or cfg.model.get('data_preprocessor') or {}
    if preprocessor.get('type') != 'viewplug.BatchViews':
        _move_views(cfg, preprocessor)
    if in_memory and cfg.train_dataloader.dataset.type != 'viewplug.InMemoryDataset':
        _move_images(cfg.train_dataloader)


def _move_views(cfg: Config, preprocessor: dict) -> None:
    loader = cfg.train_dataloader
    steps = loader.dataset.get('pipeline', [])
    places = [place for place, step in enumerate(steps) if step['type'].endswith('MultiView')]
    if len(places) != 1:
        raise ValueError(
            "views='device' needs one MultiView in train_dataloader.dataset.pipeline, got "
            f'{[step["type"] for step in steps]}'
        )
    multi_view = steps[places[0]]
    num_views = multi_view['num_views']
    cfg.data_preprocessor = {
        **preprocessor,
        'type': 'viewplug.BatchViews',
        'num_views': num_views,
        'transforms': multi_view['transforms'],
        **{key: multi_view[key] for key in ('shared_flip',) if key in multi_view},
    }
    cfg.model.pop('data_preprocessor', None)
    loader.dataset.pipeline = [step for place, step in enumerate(steps) if place != places[0]]
    loader.collate_fn = dict(type='pseudo_collate')


def _move_images(loader: dict) -> None:
    loader.dataset.pipeline = [step for step in loader.dataset.pipeline if not step['type'].endswith('PackInputs')]
    loader.dataset = dict(type='viewplug.InMemoryDataset', dataset=loader.dataset)
    loader.collate_fn = dict(type='viewplug.take_batch')
    loader.num_workers = 0
    for key in ('persistent_workers', 'pin_memory', 'prefetch_factor'):
        loader.pop(key, None)
