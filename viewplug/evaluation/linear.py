"""From a pre-training work dir to the accuracy of a linear classifier on its frozen backbone."""

from __future__ import annotations

import copy
import json
import os
import time
from pathlib import Path

import torch
from mmengine import Config
from mmengine.dist import is_main_process
from mmengine.logging import print_log
from mmengine.registry import DefaultScope
from mmengine.runner import Runner
from torch import nn

from viewplug.backbones.layout import backbone_layout
from viewplug.datasets.leaves import leaf_datasets
from viewplug.evaluation.classes import check_classes, classes_of
from viewplug.evaluation.image_sizes import one_size
from viewplug.evaluation.linear_data import labelled_datasets, single_view_size, training_pipeline
from viewplug.evaluation.readable_accuracy import LEFT_OUT, leave_out_stand_ins
from viewplug.hooks.frozen_backbone import backbone_weights
from viewplug.model_config import preprocessor_config
from viewplug.registry import DATASETS, MODELS
from viewplug.resuming import latest_checkpoint
from viewplug.schedule import set_epochs


def pretraining_of(work_dir: str | Path, checkpoint: str | None = None) -> tuple[Config, str]:
    """The config that a run dumped into its work dir, and its last checkpoint (or ``checkpoint``).

    Raises:
        ValueError: there is no such folder, no config in it, or no checkpoint.
    """
    work_dir = Path(work_dir)
    if not work_dir.is_dir():
        raise ValueError(f'no work dir {work_dir.absolute()}')
    configs = sorted(work_dir.glob('*.py'), key=os.path.getmtime)
    if not configs:
        raise ValueError(f'{work_dir.absolute()} holds no config (*.py): is it the work dir of a training run?')
    checkpoint = checkpoint or latest_checkpoint(work_dir)
    if checkpoint and not os.path.exists(checkpoint) and (work_dir / checkpoint).exists():
        checkpoint = str(work_dir / checkpoint)
    if not checkpoint or not os.path.exists(checkpoint):
        raise ValueError(f'{work_dir.absolute()} has no checkpoint yet ({checkpoint or "no last_checkpoint"})')
    return Config.fromfile(configs[-1]), os.path.abspath(checkpoint)


def linear_config(
    pretraining: Config,
    checkpoint: str,
    protocol: Config,
    prefix: str = 'backbone.',
    augment: bool = True,
    epochs: int | None = None,
    world_size: int = 1,
) -> Config:
    """The config of the classifier: a ``viewplug.LinearClassifier`` on the pre-trained backbone's last output.

    Args:
        pretraining: config of the run; its backbone, normalisation and labelled data (see
            :func:`viewplug.evaluation.linear_data.labelled_datasets`) are taken.
        checkpoint: of the run.
        protocol: ``batch_size`` (of all processes together), ``optim_wrapper``, ``param_scheduler`` and ``train_cfg``,
            as configs/_base_/linear_*.py have them; and ``backbone``, arguments in which the probed backbone differs
            from the trained one. A ``viewplug.QueryViT`` gives its class token, ``out='cls'``, unless told otherwise
            there.
        prefix: where the backbone is in the checkpoint; ``'target.backbone.'`` is the momentum copy.
        augment: train on random crops and flips, as the paper does, or on whole images.
        epochs: in place of the protocol's; the schedule is scaled.
        world_size: number of processes that share a batch.

    Raises:
        ValueError: no labelled data, no classes, other classes in validation than in training, nothing to load, a batch
            that cannot be shared, or a protocol whose ``backbone`` does not fit the run's.
    """
    backbone_weights(checkpoint, prefix)  # a sentence now, not an assertion while the model is built
    train_set, val_set = labelled_datasets(pretraining)
    size = single_view_size(pretraining)
    scope = pretraining.get('default_scope') or 'mmpretrain'
    changes = protocol.get('backbone', {})
    backbone = _probed(pretraining.model.backbone, changes)
    with DefaultScope.overwrite_default_scope(scope):  # for names without a prefix
        classes = _number_of_classes(train_set, val_set)
        channels, is_map = _last_output(backbone, changes, size)
    if augment:
        train_set = training_pipeline(train_set, size)
    if protocol.batch_size % world_size:
        raise ValueError(f'batch_size={protocol.batch_size} cannot be shared by {world_size} processes')
    backbone.init_cfg = dict(type='Pretrained', checkpoint=checkpoint, prefix=prefix)
    seen = preprocessor_config(pretraining)
    topk = (1, 5) if classes > 5 else (1,)
    cfg = Config(
        dict(
            default_scope=scope,
            model=dict(
                type='viewplug.LinearClassifier',
                backbone=backbone,
                neck=dict(type='mmpretrain.GlobalAveragePooling') if is_map else None,
                head=dict(
                    type='mmpretrain.LinearClsHead',
                    num_classes=classes,
                    in_channels=channels,
                    topk=topk,
                    loss=dict(type='mmpretrain.CrossEntropyLoss'),
                ),
            ),
            data_preprocessor=dict(
                type='mmpretrain.ClsDataPreprocessor',
                num_classes=classes,
                **{key: seen[key] for key in ('mean', 'std', 'to_rgb') if key in seen},
            ),
            train_dataloader=_loader(train_set, protocol, world_size, shuffle=True),
            val_dataloader=_loader(val_set, protocol, world_size, shuffle=False),
            val_evaluator=[dict(type='mmpretrain.Accuracy', topk=topk)],
            val_cfg=dict(),
            optim_wrapper=protocol.optim_wrapper,
            param_scheduler=protocol.param_scheduler,
            train_cfg=protocol.train_cfg,
            default_hooks=dict(
                logger=dict(type='LoggerHook', interval=50),
                checkpoint=dict(type='CheckpointHook', interval=10, max_keep_ckpts=1),
            ),
            custom_hooks=[dict(type='viewplug.FrozenBackboneHook', checkpoint=checkpoint, prefix=prefix)],
            randomness=dict(seed=0),
            env_cfg=dict(dist_cfg=dict(backend='nccl')),
        )
    )
    if epochs:
        set_epochs(cfg, epochs)
    cfg.train_cfg.val_interval = min(cfg.train_cfg.get('val_interval', 1), cfg.train_cfg.max_epochs)
    return cfg


def run_linear(cfg: Config, result_file: str | Path | None = None, **notes) -> dict:
    """Train the classifier of :func:`linear_config` or one like it, its ``work_dir`` set; its validation accuracy.

    Args:
        result_file: JSON to write the result to.
        notes: what else to put into the result.

    Returns:
        ``top1`` and ``top5`` after the last epoch, ``best_top1``, all in percent, and what was trained how long.
    """
    cfg.experiment_name = f'linear_{time.time_ns()}'  # a message hub of its own, in which no other run has a history
    runner = Runner.from_cfg(cfg)
    leave_out_stand_ins(runner.val_loop)
    with one_size('train_dataloader.dataset.pipeline or val_dataloader.dataset.pipeline'):
        runner.train()
    metrics = runner.val()  # once more, since a run resumed after its last epoch has not validated
    curve = runner.message_hub.get_scalar('val/accuracy/top1').data[0]
    unread = int(metrics.pop(f'accuracy/{LEFT_OUT}', 0))
    optimizer, weights = cfg.optim_wrapper.optimizer, cfg.model.backbone.get('init_cfg') or {}
    result = dict(
        **{key.removeprefix('accuracy/'): round(float(value), 4) for key, value in metrics.items()},
        best_top1=round(float(max(curve)), 4),
        epochs=cfg.train_cfg.max_epochs,
        lr=optimizer.lr,
        batch_size=cfg.train_dataloader.batch_size * runner.world_size,
        train_images=len(runner.train_dataloader.dataset),
        val_images=len(runner.val_dataloader.dataset) - unread,
        **({'unreadable_val_images': unread} if unread else {}),
        num_classes=cfg.model.head.num_classes,
        seed=runner.seed,
        **{key: weights[key] for key in ('checkpoint', 'prefix') if key in weights},
        **notes,
    )
    if result_file and is_main_process():
        Path(result_file).parent.mkdir(parents=True, exist_ok=True)
        partial = Path(f'{result_file}.partial')
        partial.write_text(json.dumps(result, indent=1) + '\n')
        partial.replace(result_file)  # whoever looks for the file finds it whole
    print_log(_sentence(result), 'current')
    return result


def _sentence(result: dict) -> str:
    top5 = f', top-5 {result["top5"]:.2f}' if 'top5' in result else ''
    return (
        f'Classifier on {result.get("checkpoint", "random weights")}: top-1 {result["top1"]:.2f}{top5} (best top-1 '
        f'{result["best_top1"]:.2f}), {result["num_classes"]} classes, {result["epochs"]} epochs'
    )


def _loader(dataset: dict, protocol: Config, world_size: int, shuffle: bool) -> dict:
    workers = min(protocol.get('num_workers', 4), os.cpu_count() or 1)
    return dict(
        batch_size=protocol.batch_size // world_size,
        num_workers=workers,
        persistent_workers=workers > 0,  # which also keeps mmengine from repeating an epoch's crops in the next one
        sampler=dict(type='DefaultSampler', shuffle=shuffle),
        collate_fn=dict(type='default_collate'),
        dataset=dataset,
    )


def _number_of_classes(train_set: dict, val_set: dict) -> int:
    """Named by the data set, or else counted; the validation set must name the same."""
    train, val = (DATASETS.build(dict(dataset, lazy_init=True)) for dataset in (train_set, val_set))
    check_classes(train, val)
    leaf = leaf_datasets(train)[0]
    classes = classes_of(leaf)
    number = len(classes) if classes else 1 + max(int(leaf.get_data_info(i)['gt_label']) for i in range(len(leaf)))
    if number < 2:
        raise ValueError(f'a classifier needs at least two classes, but the labelled data ({leaf}) have {number}')
    return number


def _probed(backbone: dict, changes: dict) -> dict:
    """The backbone of the run, as a classifier reads it."""
    backbone = copy.deepcopy(backbone)
    if str(backbone.type).endswith('QueryViT'):
        backbone.update(out='cls')
    backbone.update(changes)
    return backbone


def _last_output(backbone: dict, changes: dict, size: int) -> tuple[int, bool]:
    """Channels of the last output, and whether it is a map."""
    with torch.random.fork_rng(devices=[]):
        channels, strides = backbone_layout(_built(backbone, changes), size)
    return channels[-1], strides[-1] is not None


def _built(backbone: dict, changes: dict) -> nn.Module:
    try:
        return MODELS.build(copy.deepcopy(backbone))
    except TypeError as error:  # the run itself was built, so an argument of the protocol is wrong
        if not changes:
            raise
        settings = ', '.join(f'{key}={value!r}' for key, value in changes.items())
        raise ValueError(
            f'the protocol sets backbone=dict({settings}), which model.backbone.type={backbone.type!r} of the run does '
            f'not take ({error}). Give a protocol without a backbone, such as --protocol imagenet, to probe the last '
            'output'
        ) from error
