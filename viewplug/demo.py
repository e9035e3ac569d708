"""``tools/train.py --demo``: any pre-training config of this project on ShapeScenes, sized for two CPU cores."""

from __future__ import annotations

from mmengine import Config
from mmengine.logging import print_log

from viewplug.batch_views.view import View
from viewplug.schedule import set_epochs

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
# One background and large objects: in minutes contrastive learning finds the objects only where nothing else differs.
SCENES = dict(type='viewplug.ShapeScenes', image_size=48, object_scale=(0.35, 0.6), num_backgrounds=1)
NUM_TRAIN, NUM_BANK, NUM_VAL = 4000, 2000, 1000
BATCH_SIZE = 64
LEARNING_RATE = 0.06
# A queue of two batches: in a run this short the target moves so fast that older keys are told from new ones by age.
QUEUE_LEN = 128
MOMENTUM = 0.98
EPOCHS = 24
STAGE1_SHARE = 2  # the stage before has half of this
TOO_STRONG = ('GaussianBlur',)  # at 32 pixels blur leaves nothing to see


def to_demo(cfg: Config, epochs: int = EPOCHS) -> Config:
    """Swap in ShapeScenes, a small ResNet and a schedule of minutes; branches, target, augmentation and hooks stay.

    Raises:
        ValueError: ``cfg`` does not train a ``viewplug.Siamese``.
    """
    if cfg.model.type != 'viewplug.Siamese':
        raise ValueError(f'--demo is for pre-training configs of viewplug.Siamese, got model.type={cfg.model.type!r}')
    cfg = cfg.copy()
    cfg.model.backbone = BACKBONE
    for branch in cfg.model.branches.values():
        branch.neck = _small_neck(branch.neck)
        branch.head.pop('feat_dim', None)  # read off the neck
        if branch.neck.type == 'viewplug.RegionNeck':
            branch.head.update(_small_windows(len(branch.neck.stages)))
        if 'queue_len' in branch.head:
            branch.head.queue_len = QUEUE_LEN
    if cfg.model.target.type == 'viewplug.MomentumTarget':
        cfg.model.target.momentum = MOMENTUM
        if any('queue_len' in branch.head for branch in cfg.model.branches.values()):
            cfg.model.target.update(shuffle_bn=False, eman=True)  # one process; BYOL collapses with it
    cfg.train_dataloader = _small_loader(cfg.train_dataloader)
    cfg.in_memory = _can_be_made_in_batch(cfg.train_dataloader.dataset.pipeline)
    cfg.views = 'device' if cfg.in_memory else 'sample'
    if cfg.optim_wrapper.optimizer.type.endswith('LARS'):  # for large batches
        cfg.optim_wrapper.optimizer = dict(type='SGD', momentum=0.9)
    cfg.optim_wrapper.optimizer.lr = LEARNING_RATE
    cfg.optim_wrapper.optimizer.weight_decay = 5e-4
    cfg.load_from = None
    cfg.data_preprocessor.to_rgb = True  # scenes are BGR, as loaded images
    cfg.pop('auto_scale_lr', None)
    set_epochs(cfg, epochs)
    cfg.default_hooks.logger.interval = 10
    cfg.default_hooks.checkpoint.interval = 5
    cfg.log_processor = dict(window_size=10)
    hooks = [hook for hook in cfg.get('custom_hooks', []) if hook.type != 'viewplug.KNNHook']
    cfg.custom_hooks = [_knn_hook(), *hooks]
    return cfg


def _small_neck(neck: dict) -> dict:
    neck = {key: value for key, value in neck.items() if key not in ('in_channels', 'in_strides', 'hidden_channels')}
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
    multi_view = next(step for step in loader.dataset.pipeline if step.type.endswith('MultiView'))
    for views in multi_view.transforms:
        for step in views:
            if step.type.endswith(('RandomResizedCrop', 'ContrastiveCrop')):
                step.scale = VIEW_SIZE
    multi_view.transforms = [
        [s for s in views if s.type.split('.')[-1] not in TOO_STRONG] for views in multi_view.transforms
    ]
    steps = [step for step in loader.dataset.pipeline if not step.type.split('.')[-1].startswith('Load')]
    return dict(
        batch_size=BATCH_SIZE,
        num_workers=0,
        drop_last=True,
        sampler=dict(type='DefaultSampler', shuffle=True),
        collate_fn=dict(type='default_collate'),
        dataset=dict(**SCENES, num_images=NUM_TRAIN, pipeline=steps),
    )


def _can_be_made_in_batch(pipeline: list) -> bool:
    multi_view = next(step for step in pipeline if step['type'].endswith('MultiView'))
    try:
        return bool([View(views) for views in multi_view['transforms']])
    except ValueError as error:
        print_log(f'--demo: views one by one in a loader worker, because {error}', 'current')
        return False


def _knn_hook() -> dict:
    def loader(split: str, num_images: int) -> dict:
        pipeline = [dict(type='Resize', scale=(VIEW_SIZE, VIEW_SIZE)), dict(type='PackInputs')]
        dataset = dict(**SCENES, split=split, num_images=num_images, preload=True, pipeline=pipeline)
        return dict(batch_size=250, num_workers=0, dataset=dataset)

    return dict(
        type='viewplug.KNNHook',
        interval=3,
        train_dataloader=loader('train', NUM_BANK),
        val_dataloader=loader('val', NUM_VAL),
    )
