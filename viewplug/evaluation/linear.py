"""From a pre-training run to the accuracy of a linear classifier on its frozen backbone."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mmengine import Config
from mmengine.dist import is_main_process
from mmengine.logging import print_log
from mmengine.registry import DefaultScope
from mmengine.runner import Runner

from viewplug.config.mistakes import sentence
from viewplug.config.model_config import preprocessor_config
from viewplug.config.schedule import set_epochs
from viewplug.datasets.leaves import leaf_datasets
from viewplug.evaluation.classes import check_classes, classes_of
from viewplug.evaluation.image_sizes import one_size
from viewplug.evaluation.linear_data import (
    found_where_they_were,
    labelled_datasets,
    single_view_size,
    training_pipeline,
)
from viewplug.evaluation.probed_backbone import last_output, probed_backbone
from viewplug.evaluation.readable_accuracy import LEFT_OUT, leave_out_stand_ins
from viewplug.hooks.frozen_backbone import backbone_weights
from viewplug.registry import DATASETS
from viewplug.run.cpu_processes import use_gloo


def linear_config(
    pretraining: Config,
    checkpoint: str,
    protocol: Config,
    prefix: str = 'backbone.',
    augment: bool = True,
    epochs: int | None = None,
    world_size: int = 1,
    options: Mapping[str, Any] | None = None,
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
        options: ``--cfg-options``, of which those for the data sets are followed before classes are counted; the caller
            merges all of them into what is returned.

    Raises:
        ValueError: no labelled data, no classes, other classes in validation than in training, nothing to load, a batch
            that cannot be shared, or a protocol whose ``backbone`` does not fit the run's.
    """
    backbone_weights(checkpoint, prefix)  # a sentence now, not an assertion while the model is built
    train_set, val_set = labelled_datasets(pretraining, options)
    size = single_view_size(pretraining)
    scope = pretraining.get('default_scope') or 'mmpretrain'
    changes = protocol.get('backbone', {})
    backbone = probed_backbone(pretraining.model.backbone, changes)
    with DefaultScope.overwrite_default_scope(scope), found_where_they_were():  # for names without a prefix
        classes = _number_of_classes(train_set, val_set)
        channels, is_map = last_output(backbone, changes, size)
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
    if epochs is not None:
        set_epochs(cfg, epochs)
    cfg.train_cfg.val_interval = min(cfg.train_cfg.get('val_interval', 1), cfg.train_cfg.max_epochs)
    return cfg


def run_linear(cfg: Config, result_file: str | Path | None = None, **notes) -> dict:
    """Train the classifier of :func:`linear_config` or one like it, its ``work_dir`` set; its validation accuracy.

    Args:
        result_file: JSON to write the result to.
        notes: what else to put into the result.

    Raises:
        ValueError: before the first step is done, with a sentence that names the key of ``cfg`` at fault. Later errors
            surface as they are.

    Returns:
        ``top1`` and ``top5`` after the last epoch, ``best_top1``, all in percent, and what was trained how long.
    """
    cfg.experiment_name = f'linear_{time.time_ns()}'  # a message hub of its own, in which no other run has a history
    use_gloo(cfg)
    runner = None
    try:
        runner = Runner.from_cfg(cfg)
        leave_out_stand_ins(runner.val_loop)
        with one_size('train_dataloader.dataset.pipeline or val_dataloader.dataset.pipeline'):
            runner.train()
    except Exception as error:
        if getattr(getattr(runner, '_train_loop', None), 'iter', 0):  # the property would build the loop again
            raise
        raise ValueError(sentence(error, cfg)) from error
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
    loaders = Config(dict(train_dataloader=dict(dataset=train_set), val_dataloader=dict(dataset=val_set)))
    try:
        train, val = (DATASETS.build(dict(loader.dataset, lazy_init=True)) for loader in loaders.values())
    except TypeError as error:
        raise ValueError(sentence(error, loaders)) from error
    check_classes(train, val)
    leaf = leaf_datasets(train)[0]
    classes = classes_of(leaf)
    number = len(classes) if classes else 1 + max(int(leaf.get_data_info(i)['gt_label']) for i in range(len(leaf)))
    if number < 2:
        raise ValueError(f'a classifier needs at least two classes, but the labelled data ({leaf}) have {number}')
    return number
