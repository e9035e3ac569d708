"""What a cell of crop_frameworks.py trains, and where."""

import argparse
from pathlib import Path

from mmengine import Config

from viewplug.config.schedule import set_epochs
from viewplug.run.demo import to_demo

ROOT = Path(__file__).resolve().parents[1]
NUM_SCENES = 10_000


def cell_config(framework: str, crop: str, seed: int, args: argparse.Namespace) -> Config:
    """What tools/train.py is given."""
    configs = 'fashion_mnist' if args.data == 'fashion_mnist' else 'contrastive_crop/cifar10'
    cfg = Config.fromfile(ROOT / f'configs/{configs}/{framework}_{crop}.py')
    if args.data == 'demo':
        cfg = to_demo(cfg)
    else:
        cfg = on_scenes(cfg) if args.data == 'scenes' else cfg
        cfg.views, cfg.in_memory = 'device', True
    set_epochs(cfg, args.epochs)
    every = max(1, args.epochs // 5)
    for hook in cfg.custom_hooks:
        if hook.type == 'viewplug.LocalizationHook':
            hook.update(start=every, interval=every, threshold=args.threshold)
    dataset, head = cfg.train_dataloader.dataset, cfg.model.branches.image.head
    if args.data != 'demo':
        knn_hook(cfg).interval = every
        if args.data == 'fashion_mnist' and args.data_root:
            for one in (dataset, *knn_datasets(cfg)):
                one.data_root = str(args.data_root.absolute())
    if args.object_scale:
        for one in (dataset, *knn_datasets(cfg)):
            one.object_scale = tuple(args.object_scale)
    if args.images:
        dataset['num_images' if 'num_images' in dataset else 'indices'] = args.images
    if 'queue_len' in head:
        head.queue_len = min(head.queue_len, args.images or dataset.get('num_images', head.queue_len))
    if args.batch:
        cfg.train_dataloader.batch_size = args.batch
        if 'auto_scale_lr' in cfg:
            cfg.auto_scale_lr.enable = True
    cfg.randomness = dict(seed=seed)
    cfg.speed = dict(channels_last=True)
    return cfg


def on_scenes(cfg: Config) -> Config:
    """The demo's scenes, to learn from and to classify, in place of CIFAR-10; network, batch and schedule stay."""
    demo = to_demo(cfg)
    cfg.custom_hooks = [knn_hook(demo), *(hook for hook in cfg.custom_hooks if hook.type != 'viewplug.KNNHook')]
    cfg.train_dataloader.dataset = dict(demo.train_dataloader.dataset, num_images=NUM_SCENES)
    return cfg


def knn_hook(cfg: Config) -> dict:
    return next(hook for hook in cfg.custom_hooks if hook.type == 'viewplug.KNNHook')


def knn_datasets(cfg: Config) -> tuple[dict, dict]:
    hook = knn_hook(cfg)
    return hook.train_dataloader.dataset, hook.val_dataloader.dataset


def folder(framework: str, crop: str, seed: int, args: argparse.Namespace) -> Path:
    given = (f'{key}{value}'.replace(' ', '') for key, value in sizes(args).items())
    parts = [framework, crop, args.epochs, args.threshold, seed, *given]
    top = args.work_dir.absolute()
    return (top if args.data == 'demo' else top / args.data) / '_'.join(map(str, parts))


def sizes(args: argparse.Namespace) -> dict[str, int | list[float]]:
    """What was given of --images, --batch and --object-scale."""
    return {key: vars(args)[key] for key in ('images', 'batch', 'object_scale') if vars(args)[key]}
