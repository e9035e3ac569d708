"""Runner on toy images: two crops each, MoCo with HCL's neck."""

import itertools
from pathlib import Path

from mmengine.hooks import Hook
from mmengine.runner import Runner
from toys import ToyImages, hcl_branch, toy_resnet

PIPELINE = [
    dict(
        type='viewplug.MultiView',
        num_views=2,
        transforms=[
            [
                dict(type='viewplug.RandomResizedCrop', scale=32, crop_ratio_range=(0.2, 1.0)),
                dict(type='mmpretrain.RandomFlip', prob=0.5),
            ]
        ],
    ),
    dict(type='mmpretrain.PackInputs', meta_keys=('sample_idx', 'crop_box', 'flip')),
]
numbers = itertools.count()


class Diary(Hook):
    """Losses, and crop boxes by image, of every iteration; stops the run before epoch ``stop_before``."""

    priority = 'VERY_LOW'

    def __init__(self, stop_before: int | None = None) -> None:
        self.stop_before = stop_before
        self.losses: list[float] = []
        self.boxes: dict[int, dict[int, list]] = {}

    def before_train_epoch(self, runner) -> None:
        if runner.epoch == self.stop_before:
            raise KeyboardInterrupt

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None) -> None:
        self.losses.append(outputs['loss'].item())
        epoch = self.boxes.setdefault(runner.epoch, {})
        for sample in data_batch['data_samples']:
            epoch[sample.sample_idx] = sample.crop_box.tolist()


def toy_runner(
    work_dir,
    hooks=(),
    backbone=None,
    branch=None,
    target=None,
    max_epochs: int = 2,
    num_workers: int = 0,
    persistent_workers: bool = False,
    dataset=None,
    collate_fn=None,
    data_preprocessor=None,
    default_hooks: dict | None = None,
    train_cfg: dict | None = None,
    batch_size: int | None = None,
    accumulative_counts: int = 1,
    sampler: dict | None = None,
    randomness: dict | None = None,
    kind: type = Runner,
    **changes,
) -> Runner:
    model = dict(
        type='viewplug.Siamese',
        backbone=backbone or toy_resnet(),
        target=target or dict(type='viewplug.MomentumTarget', momentum=0.9),
        branches=dict(image=branch or hcl_branch(input_size=32, queue_len=12)),
        data_preprocessor=data_preprocessor or dict(mean=[127.5] * 3, std=[127.5] * 3),
    )
    return kind(
        model=model,
        work_dir=str(work_dir),
        experiment_name=f'toy_{next(numbers)}',
        train_dataloader=dict(
            batch_size=batch_size or (8 if num_workers == 0 else 4),
            num_workers=num_workers,
            persistent_workers=persistent_workers,
            sampler=sampler or dict(type='DefaultSampler', shuffle=True),
            collate_fn=collate_fn or dict(type='default_collate'),
            dataset=dataset or ToyImages(pipeline=PIPELINE),
        ),
        train_cfg=train_cfg or dict(by_epoch=True, max_epochs=max_epochs),
        optim_wrapper=dict(optimizer=dict(type='SGD', lr=0.05, momentum=0.9), accumulative_counts=accumulative_counts),
        param_scheduler=[dict(type='CosineAnnealingLR', T_max=4, by_epoch=True, convert_to_iter_based=True, end=4)],
        default_hooks=dict(
            checkpoint=dict(type='CheckpointHook', interval=1),
            logger=dict(type='LoggerHook', interval=1),
        )
        | (default_hooks or {}),
        custom_hooks=list(hooks),
        randomness=randomness or dict(seed=5),
        **changes,
    )


def log_of(work_dir) -> str:
    return '\n'.join(path.read_text() for path in sorted(Path(work_dir).rglob('*.log')))
