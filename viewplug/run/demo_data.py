"""What ``--demo`` trains and evaluates on: rendered scenes, in the config's own pipeline at a small size."""

from __future__ import annotations

import math

from mmengine import Config
from mmengine.logging import print_log

from viewplug.batch_views.view import View
from viewplug.config.channel_order import BGR_TO_RGB
from viewplug.registry import class_name

VIEW_SIZE = 32
# Of ViTs: 16 patches of a view.
PATCH = 8
LOCAL_VIEWS, LOCAL_CROPS = 2, (0.2, 0.6)
# One background and large objects: in minutes contrastive learning finds the objects only where nothing else differs.
SCENES = dict(type='viewplug.ShapeScenes', image_size=48, object_scale=(0.35, 0.6), num_backgrounds=1)
NUM_TRAIN, NUM_BANK, NUM_VAL = 4000, 2000, 1000
BATCH_SIZE = 64
CROPS = ('RandomResizedCrop', 'ContrastiveCrop')
TOO_STRONG = ('GaussianBlur',)  # at 32 pixels blur leaves nothing to see


def small_loader(loader: dict) -> dict:
    """Scenes in a loader's own pipeline, whose crops, local views, query crops and masks are made small in place.

    Raises:
        ValueError: the pipeline has no MultiView.
    """
    multi_view = multi_view_of(loader.dataset.pipeline)
    crops = [step for views in multi_view.transforms for step in views if class_name(step.type).endswith(CROPS)]
    largest = max((crop.scale for crop in crops), default=VIEW_SIZE)
    for crop in crops:
        if crop.scale < largest:
            crop.crop_ratio_range = LOCAL_CROPS
        crop.scale = PATCH * math.ceil(VIEW_SIZE * crop.scale / largest / PATCH)
    if not isinstance(multi_view.num_views, int):
        multi_view.num_views = [min(number, LOCAL_VIEWS) for number in multi_view.num_views]
    for step in loader.dataset.pipeline:
        if class_name(step.type).endswith('QueryCrops'):
            step.scale = PATCH
        if class_name(step.type).endswith('BlockMasks'):
            step.grid = VIEW_SIZE // PATCH
    multi_view.transforms = [
        [s for s in views if class_name(s.type) not in TOO_STRONG] for views in multi_view.transforms
    ]
    return loader_of_scenes(SCENES, loader.dataset.pipeline)


def loader_of_scenes(scenes: dict, pipeline: list) -> dict:
    """Batches of training scenes in a pipeline, whose own steps that load images are left out."""
    steps = [step for step in pipeline if not class_name(step['type']).startswith('Load')]
    return dict(
        batch_size=BATCH_SIZE,
        num_workers=0,
        drop_last=True,
        sampler=dict(type='DefaultSampler', shuffle=True),
        collate_fn=dict(type='default_collate'),
        dataset=dict(**scenes, num_images=NUM_TRAIN, pipeline=steps),
    )


def multi_view_of(pipeline: list) -> dict:
    """The step that makes views.

    Raises:
        ValueError: there is none.
    """
    found = next((step for step in pipeline if class_name(step['type']).endswith('MultiView')), None)
    if found is None:
        raise ValueError(
            '--demo is for pre-training configs with a MultiView in train_dataloader.dataset.pipeline, got '
            f'{[class_name(step["type"]) for step in pipeline]}'
        )
    return found


def num_queries(cfg: Config) -> int:
    """Query crops of an image."""
    pipeline = cfg.train_dataloader.dataset.pipeline
    return next(step.num for step in pipeline if class_name(step.type).endswith('QueryCrops'))


def can_be_made_in_batch(pipeline: list) -> bool:
    """Whether ``viewplug.BatchViews`` knows every operator of the views; what it does not know is printed."""
    multi_view = multi_view_of(pipeline)
    try:
        return bool([View(views) for views in multi_view['transforms']])
    except ValueError as error:
        print_log(f'--demo: views one by one in a loader worker, because {error}', 'current')
        return False


def make_knn_hook(scenes: dict = SCENES, view_size: int = VIEW_SIZE) -> dict:
    """``viewplug.KNNHook`` on whole scenes of a view's size: a bank of the train split, queries of the val split."""

    def loader(split: str, num_images: int) -> dict:
        pipeline = [dict(type='Resize', scale=(view_size, view_size)), dict(type='PackInputs')]
        dataset = dict(**scenes, split=split, num_images=num_images, preload=True, pipeline=pipeline)
        return dict(batch_size=250, num_workers=0, dataset=dataset)

    return dict(
        type='viewplug.KNNHook',
        interval=3,
        train_dataloader=loader('train', NUM_BANK),
        val_dataloader=loader('val', NUM_VAL),
    )


def turn_to_rgb(loader: dict) -> None:
    """Scenes are BGR, as images that mmcv loads are."""
    loader['dataset']['pipeline'] = [*BGR_TO_RGB, *loader['dataset']['pipeline']]
