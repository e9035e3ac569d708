"""Arguments of tools/train.py for runs of seconds."""

from argparse import Namespace
from pathlib import Path

from mmengine import Config

ROOT = Path(__file__).resolve().parents[2]
TINY = {
    'train_dataloader.batch_size': 8,
    'train_dataloader.num_workers': 0,
    'train_dataloader.dataset.num_images': 24,
    'train_dataloader.dataset.image_size': 32,
    'model.backbone.base_channels': 4,
    'model.backbone.stem_channels': 4,
    'model.branches.image.head.queue_len': 20,
    'default_hooks.checkpoint.interval': 1,
}


def arguments(config, tmp_path, **changes):
    options = dict(changes.pop('options', {}))
    defaults = dict(demo=False, stages=False, data_root=None, amp=None, resume=None, epochs=None, launcher='none')
    given = dict(config=str(ROOT / config), work_dir=str(tmp_path / 'work'), cfg_options=options, **defaults)
    return Namespace(**{**given, **changes})


def demo(config, tmp_path, options=(), **changes):
    """Arguments of a demo of seconds: tiny network, 24 scenes, one epoch, kNN on a handful."""
    knn = {f'custom_hooks.0.{loader}.dataset.num_images': 24 for loader in ('train_dataloader', 'val_dataloader')}
    changes = {'epochs': 1, **changes}
    options = {**TINY, **knn, **dict(options)}
    if not has_queue(config):
        options.pop('model.branches.image.head.queue_len')
    return arguments(config, tmp_path, demo=True, options=options, **changes)


def has_queue(config) -> bool:
    return 'queue_len' in Config.fromfile(ROOT / config).model.branches.image.head


def small(config='configs/mocov2_r50.py', **model):
    """Options that make a real config CPU-sized without --demo: R18, 32-pixel views."""
    return {
        'model.backbone.depth': 18,
        'model.backbone.base_channels': 8,
        'model.backbone.stem_channels': 8,
        'model.branches.image.head.queue_len': 30,
        'train_dataloader.batch_size': 4,
        'train_dataloader.num_workers': 0,
        **model,
    }
