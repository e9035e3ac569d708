"""``tools/train.py --demo``: any pre-training config of this project on ShapeScenes, sized for two CPU cores."""

from __future__ import annotations

import copy
import math

from mmengine import Config
from mmengine.logging import print_log

from viewplug.batch_views.switch import own_extras
from viewplug.batch_views.view import View
from viewplug.config.channel_order import BGR_TO_RGB, order_given, order_loaded
from viewplug.config.model_config import preprocessor_config
from viewplug.config.schedule import set_epochs
from viewplug.config.shrunk_pipeline import shrunk_pipeline
from viewplug.frameworks.left_out import arguments_of
from viewplug.registry import class_name
from viewplug.run.demo_parts import check_parts, check_siamese

VIEW_SIZE = 32
BACKBONE = dict(
    type='mmpretrain.ResNet_CIFAR',
    depth=18,
    stem_channels=16,
    base_channels=16,
    num_stages=3,  # twice the steps of four stages in the same time
    strides=(2, 2, 1),  # an 8 x 8 last map at 32 pixels: coarser ones localise nothing
    dilations=(1, 1, 1),
    out_indices=(0, 1, 2),
)
# Of ViTs: 16 patches of a view.
PATCH = 8
VIT_SIZE = dict(img_size=VIEW_SIZE, patch_size=PATCH)
VITS = {
    'viewplug.QueryViT': dict(
        model_name='vit_tiny_patch16_224', embed_dim=64, depth=4, num_heads=2, drop_path_rate=0.0, **VIT_SIZE
    ),
    'mmpretrain.VisionTransformer': dict(
        arch=dict(embed_dims=64, num_layers=4, num_heads=2, feedforward_channels=256), drop_path_rate=0.0, **VIT_SIZE
    ),
}
PROTOTYPES = 256
LOCAL_VIEWS, LOCAL_CROPS = 2, (0.2, 0.6)
# One background and large objects: in minutes contrastive learning finds the objects only where nothing else differs.
SCENES = dict(type='viewplug.ShapeScenes', image_size=48, object_scale=(0.35, 0.6), num_backgrounds=1)
NUM_DRAWN = 6  # images whose heat maps and boxes are drawn at each update
NUM_TRAIN, NUM_BANK, NUM_VAL = 4000, 2000, 1000
BATCH_SIZE = 64
LEARNING_RATE = 0.06
# A queue of two batches: in a run this short the target moves so fast that older keys are told from new ones by age.
QUEUE_LEN = 128
MOMENTUM = 0.98
# Short runs of DINO: at the paper's temperature, and with many small local crops, the target was uniform over the
# prototypes after 300 steps.
ADAMW_LEARNING_RATE, DISTILL_MOMENTUM, TEACHER_TEMPERATURE = 5e-4, 0.99, 0.02
EPOCHS = 24
CROPS = ('RandomResizedCrop', 'ContrastiveCrop')
TOO_STRONG = ('GaussianBlur',)  # at 32 pixels blur leaves nothing to see


def to_demo(cfg: Config, epochs: int = EPOCHS) -> Config:
    """Swap in ShapeScenes, a small network and a schedule of minutes; branches, target, augmentation and hooks stay.

    Raises:
        ValueError: ``cfg`` does not train a ``viewplug.Siamese``, or lacks a part that is to be made smaller.
    """
    check_parts(cfg)
    if 'demo' in cfg:
        return to_own_demo(cfg, epochs)
    if cfg.model.type != 'viewplug.Siamese':
        raise ValueError(f'--demo is for pre-training configs of viewplug.Siamese, got model.type={cfg.model.type!r}')
    check_siamese(cfg)
    cfg = copy.deepcopy(cfg)  # its own copy() is shallow
    kind = cfg.model.backbone.type
    cfg.model.backbone = {**cfg.model.backbone, **VITS[kind]} if kind in VITS else BACKBONE
    masked = any(branch.get('masked') for branch in cfg.model.branches.values())
    for branch in cfg.model.branches.values():
        if not isinstance(branch.neck, str):
            branch.neck = _small_neck(branch.neck)
            if branch.neck.type == 'viewplug.DINONeck' and not masked:
                branch.neck.norm_cfg = dict(type='BN')  # which needs rows, and a batch may have no masked patch
            if branch.neck.type == 'viewplug.RegionNeck':
                branch.head.update(_small_windows(len(branch.neck.stages)))
        if 'feat_dim' in arguments_of(branch.head):
            branch.head.pop('feat_dim', None)  # read off the neck
        if 'teacher_temperature' in branch.head:
            branch.head.update(
                dict.fromkeys(('teacher_temperature', 'warmup_teacher_temperature'), TEACHER_TEMPERATURE)
            )
        if 'queue_len' in branch.head:
            branch.head.queue_len = QUEUE_LEN * (_num_queries(cfg) if branch.get('reads') == 'query' else 1)
    if cfg.model.target.type == 'viewplug.MomentumTarget':
        distils = any('teacher_temperature' in branch.head for branch in cfg.model.branches.values())
        cfg.model.target.momentum = DISTILL_MOMENTUM if distils else MOMENTUM
        if any('queue_len' in branch.head for branch in cfg.model.branches.values()):
            cfg.model.target.update(shuffle_bn=False, eman=True)  # one process; BYOL collapses with it
    order = order_given(cfg.train_dataloader.dataset, preprocessor_config(cfg))
    cfg.train_dataloader = _small_loader(cfg.train_dataloader)
    if len(cfg.model.get('online_views', ())) > 2:
        cfg.model.online_views = tuple(range(sum(_multi_view(cfg.train_dataloader.dataset.pipeline).num_views)))
    pipeline = cfg.train_dataloader.dataset.pipeline
    cfg.views = 'device' if _can_be_made_in_batch(pipeline) else 'sample'
    cfg.in_memory = cfg.views == 'device' and not own_extras(pipeline)
    if class_name(cfg.optim_wrapper.optimizer.type).endswith('LARS'):  # for large batches
        cfg.optim_wrapper.optimizer = dict(type='SGD', momentum=0.9)
    if class_name(cfg.optim_wrapper.optimizer.type) == 'AdamW':
        cfg.optim_wrapper.optimizer.lr = ADAMW_LEARNING_RATE
    else:
        cfg.optim_wrapper.optimizer.update(lr=LEARNING_RATE, weight_decay=5e-4)
    return _shortened(cfg, epochs, _knn_hook(), order)


def to_own_demo(cfg: Config, epochs: int = EPOCHS) -> Config:
    """The demo of a framework other than ``viewplug.Siamese``: the same scenes, network and length, and its own rest.

    The config's ``demo`` says what: ``shrink``, by which the lengths in its pipeline are divided; ``view_size`` of
    kNN's images; ``scenes``, arguments of ShapeScenes; its other keys are merged into the config at the end.
    """
    cfg = copy.deepcopy(cfg)  # its own copy() is shallow
    own = dict(cfg.pop('demo'))
    scenes, view_size = {**SCENES, **own.pop('scenes', {})}, own.pop('view_size', VIEW_SIZE)
    cfg.model.backbone = {**BACKBONE, 'norm_cfg': cfg.model.backbone.get('norm_cfg', dict(type='BN'))}
    pipeline = shrunk_pipeline(cfg.train_dataloader.dataset.pipeline, own.pop('shrink', 1))
    order = order_given(cfg.train_dataloader.dataset, preprocessor_config(cfg))
    cfg.train_dataloader = _loader_of_scenes({**scenes, 'preload': True}, pipeline)
    cfg.optim_wrapper.optimizer.weight_decay = 5e-4
    cfg = _shortened(cfg, epochs, _knn_hook(scenes, view_size), order)
    cfg.merge_from_dict(own)
    return cfg


def _shortened(cfg: Config, epochs: int, knn_hook: dict, order: str) -> Config:
    cfg.load_from = None
    cfg.pop('auto_scale_lr', None)
    set_epochs(cfg, epochs)
    cfg.default_hooks = cfg.get('default_hooks') or {}
    for name, kind, interval in (('logger', 'LoggerHook', 10), ('checkpoint', 'CheckpointHook', 5)):
        if cfg.default_hooks.setdefault(name, dict(type=kind)) is not None:  # None leaves it out
            cfg.default_hooks[name]['interval'] = interval
    cfg.log_processor = dict(window_size=10)
    hooks = [hook for hook in cfg.get('custom_hooks') or [] if hook.type != 'viewplug.KNNHook']
    for hook in hooks:
        if hook.type == 'viewplug.LocalizationHook':
            hook.setdefault('num_drawn', NUM_DRAWN)
    # Scenes are BGR, as loaded ones: training turns them as the config's own images, kNN as the preprocessor then gets
    # them from training.
    if order == 'RGB':
        _turn(cfg.train_dataloader)
    loaded = order_loaded(cfg)  # None: views come in several orders
    if (loaded.known if loaded else order) == 'RGB':
        _turn(knn_hook['train_dataloader'])
        _turn(knn_hook['val_dataloader'])
    cfg.custom_hooks = [knn_hook, *hooks]
    return cfg


def _turn(loader: dict) -> None:
    loader['dataset']['pipeline'] = [*BGR_TO_RGB, *loader['dataset']['pipeline']]


def _small_neck(neck: dict) -> dict:
    too_large = {'in_channels', 'in_strides'} & arguments_of(neck)  # read off the small backbone
    if str(neck['type']).startswith('viewplug.'):
        too_large.add('hidden_channels')
    neck = {key: value for key, value in neck.items() if key not in too_large}
    if neck['type'] == 'viewplug.DINONeck':
        neck.update(out_channels=PROTOTYPES, hidden_channels=PROTOTYPES, bottleneck_channels=64)
    if neck['type'] == 'viewplug.HCLNeck':
        neck.update(input_size=VIEW_SIZE, map_stride=4, fusion_stride=None, lateral_channels=32)
    if neck['type'] == 'viewplug.RegionNeck':
        levels = ('P1', 'P2') if str(neck['stages'][0]).startswith('P') else ('C1', 'C2')
        neck.update(stages=levels[-len(neck['stages']) :], fpn_channels=32, hidden_channels=32, out_channels=32)
    return neck


def _small_windows(levels: int) -> dict:
    """Those of ``viewplug.RegionHead`` on the coarsest one or two of maps of stride 2 and 4."""
    sizes = dict(window=(8, 12), stride=(6, 4), downsample=(2, 4))
    return dict(input_size=VIEW_SIZE, **{key: values[-levels:] for key, values in sizes.items()})


def _small_loader(loader: dict) -> dict:
    multi_view = _multi_view(loader.dataset.pipeline)
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
    return _loader_of_scenes(SCENES, loader.dataset.pipeline)


def _loader_of_scenes(scenes: dict, pipeline: list) -> dict:
    steps = [step for step in pipeline if not class_name(step['type']).startswith('Load')]
    return dict(
        batch_size=BATCH_SIZE,
        num_workers=0,
        drop_last=True,
        sampler=dict(type='DefaultSampler', shuffle=True),
        collate_fn=dict(type='default_collate'),
        dataset=dict(**scenes, num_images=NUM_TRAIN, pipeline=steps),
    )


def _multi_view(pipeline: list) -> dict:
    found = next((step for step in pipeline if class_name(step['type']).endswith('MultiView')), None)
    if found is None:
        raise ValueError(
            '--demo is for pre-training configs with a MultiView in train_dataloader.dataset.pipeline, got '
            f'{[class_name(step["type"]) for step in pipeline]}'
        )
    return found


def _num_queries(cfg: Config) -> int:
    pipeline = cfg.train_dataloader.dataset.pipeline
    return next(step.num for step in pipeline if class_name(step.type).endswith('QueryCrops'))


def _can_be_made_in_batch(pipeline: list) -> bool:
    multi_view = _multi_view(pipeline)
    try:
        return bool([View(views) for views in multi_view['transforms']])
    except ValueError as error:
        print_log(f'--demo: views one by one in a loader worker, because {error}', 'current')
        return False


def _knn_hook(scenes: dict = SCENES, view_size: int = VIEW_SIZE) -> dict:
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
