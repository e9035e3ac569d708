"""``tools/train.py --demo``: any pre-training config of this project on ShapeScenes, sized for two CPU cores."""

from __future__ import annotations

import copy

from mmengine import Config

from viewplug.batch_views.switch import own_extras
from viewplug.config.channel_order import order_given, order_loaded
from viewplug.config.model_config import preprocessor_config
from viewplug.config.schedule import set_epochs
from viewplug.config.shrunk_pipeline import shrunk_pipeline
from viewplug.frameworks.left_out import arguments_of
from viewplug.registry import class_name
from viewplug.run.demo_data import (
    PATCH,
    SCENES,
    VIEW_SIZE,
    can_be_made_in_batch,
    loader_of_scenes,
    make_knn_hook,
    multi_view_of,
    num_queries,
    small_loader,
    turn_to_rgb,
)
from viewplug.run.demo_parts import check_parts, check_siamese

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
NUM_DRAWN = 6  # images whose heat maps and boxes are drawn at each update
LEARNING_RATE = 0.06
# A queue of two batches: in a run this short the target moves so fast that older keys are told from new ones by age.
QUEUE_LEN = 128
MOMENTUM = 0.98
# Short runs of DINO: at the paper's temperature, and with many small local crops, the target was uniform over the
# prototypes after 300 steps.
ADAMW_LEARNING_RATE, DISTILL_MOMENTUM, TEACHER_TEMPERATURE = 5e-4, 0.99, 0.02
EPOCHS = 24


def to_demo(cfg: Config, epochs: int = EPOCHS) -> Config:
    """Swap in ShapeScenes, a small network and a schedule of minutes; branches, target, augmentation and hooks stay.

    Raises:
        ValueError: ``cfg`` does not train a ``viewplug.Siamese``, or lacks a part that is to be made smaller.
    """
    kind = cfg.model.get('type') if isinstance(cfg.get('model'), dict) else None
    if 'demo' not in cfg and kind not in (None, 'viewplug.Siamese'):
        raise ValueError(f'--demo is for pre-training configs of viewplug.Siamese, got model.type={kind!r}')
    check_parts(cfg)
    if 'demo' in cfg:
        return to_own_demo(cfg, epochs)
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
            branch.head.queue_len = QUEUE_LEN * (num_queries(cfg) if branch.get('reads') == 'query' else 1)
    if cfg.model.target.type == 'viewplug.MomentumTarget':
        distils = any('teacher_temperature' in branch.head for branch in cfg.model.branches.values())
        cfg.model.target.momentum = DISTILL_MOMENTUM if distils else MOMENTUM
        if any('queue_len' in branch.head for branch in cfg.model.branches.values()):
            cfg.model.target.update(shuffle_bn=False, eman=True)  # one process; BYOL collapses with it
    order = order_given(cfg.train_dataloader.dataset, preprocessor_config(cfg))
    cfg.train_dataloader = small_loader(cfg.train_dataloader)
    if len(cfg.model.get('online_views', ())) > 2:
        cfg.model.online_views = tuple(range(sum(multi_view_of(cfg.train_dataloader.dataset.pipeline).num_views)))
    pipeline = cfg.train_dataloader.dataset.pipeline
    cfg.views = 'device' if can_be_made_in_batch(pipeline) else 'sample'
    cfg.in_memory = cfg.views == 'device' and not own_extras(pipeline)
    if class_name(cfg.optim_wrapper.optimizer.type).endswith('LARS'):  # for large batches
        cfg.optim_wrapper.optimizer = dict(type='SGD', momentum=0.9)
    if class_name(cfg.optim_wrapper.optimizer.type) == 'AdamW':
        cfg.optim_wrapper.optimizer.lr = ADAMW_LEARNING_RATE
    else:
        cfg.optim_wrapper.optimizer.update(lr=LEARNING_RATE, weight_decay=5e-4)
    return _shortened(cfg, epochs, make_knn_hook(), order)


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
    cfg.train_dataloader = loader_of_scenes({**scenes, 'preload': True}, pipeline)
    cfg.optim_wrapper.optimizer.weight_decay = 5e-4
    cfg = _shortened(cfg, epochs, make_knn_hook(scenes, view_size), order)
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
        turn_to_rgb(cfg.train_dataloader)
    loaded = order_loaded(cfg)  # None: views come in several orders
    if (loaded.known if loaded else order) == 'RGB':
        turn_to_rgb(knn_hook['train_dataloader'])
        turn_to_rgb(knn_hook['val_dataloader'])
    cfg.custom_hooks = [knn_hook, *hooks]
    return cfg


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
