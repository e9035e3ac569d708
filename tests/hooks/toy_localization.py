"""Images with one bright spot, a network that sees brightness, and runs on them."""

import itertools

import numpy as np
import torch
from mmengine.dataset import BaseDataset
from mmengine.hooks import Hook
from mmengine.runner import Runner
from torch import nn

from viewplug.hooks import LocalizationHook
from viewplug.transforms import META_KEYS

HEIGHT, WIDTH, SIZE = 24, 48, 16
numbers = itertools.count()


def spot(index: int) -> tuple[int, int, int, int]:
    """x0, y0, x1, y1 of image ``index``'s spot, in pixels: a sixteenth of the image."""
    left, top = 12 * (index % 4), 6 * (index // 4 % 4)
    return left, top, left + 12, top + 6


def spot_box(index: int) -> list[float]:
    x0, y0, x1, y1 = spot(index)
    return [x0 / WIDTH, y0 / HEIGHT, x1 / WIDTH, y1 / HEIGHT]


class Spots(BaseDataset):
    """Image ``i`` is grey with a white rectangle whose place depends on ``i + first``; ``blank`` ones have none."""

    def __init__(self, number=8, first=0, blank=(), **kwargs):
        self.number, self.first, self.blank = number, first, blank
        super().__init__(serialize_data=False, **kwargs)  # which would collect garbage, a second each time

    def load_data_list(self):
        return [dict(place=index + self.first) for index in range(self.number)]

    def prepare_data(self, idx):
        results = self.get_data_info(idx)
        image = np.full((HEIGHT, WIDTH, 3), 60, np.uint8)
        if results['sample_idx'] not in self.blank:
            x0, y0, x1, y1 = spot(results['place'])
            image[y0:y1, x0:x1] = 250
        results['img'] = image
        return self.pipeline(results)

    def get_cat_ids(self, idx):
        return [idx % 2]


class Brightness(nn.Module):
    """The mean of 4 x 4 pixels, times weights that begin as ones."""

    def __init__(self, channels=4):
        super().__init__()
        self.mix = nn.Conv2d(3, channels, 1, bias=False)
        nn.init.ones_(self.mix.weight)
        self.calls = 0

    def forward(self, images):
        self.calls += 1
        return (self.mix(nn.functional.avg_pool2d(images, 4)),)


def pipeline(multi_view='viewplug.MultiView', crop='viewplug.ContrastiveCrop', flip=0.0, before=(), **changes):
    settings = dict(scale=SIZE, crop_ratio_range=(0.2, 0.5), alpha=1.0) if crop == 'viewplug.ContrastiveCrop' else {}
    view = [
        dict(type=crop, **{**dict(scale=SIZE), **settings, **changes}),
        dict(type='mmpretrain.RandomFlip', prob=flip),
    ]
    return [
        *before,
        dict(type=multi_view, num_views=2, transforms=[view]),
        dict(type='mmpretrain.PackInputs', meta_keys=META_KEYS),
    ]


def crop_of(dataset):
    return dataset.pipeline.transforms[-2].pipelines[0].transforms[0]


def boxes_of(dataset):
    return crop_of(dataset).box_store.read_all()


class Diary(Hook):
    """Crop boxes and image numbers by epoch, losses, and what the first data set's store held during each epoch."""

    priority = 'VERY_LOW'

    def __init__(self, stop_before=None):
        self.crops, self.losses, self.stores, self.stop_before = {}, [], {}, stop_before

    def before_train_epoch(self, runner):
        if runner.epoch == self.stop_before:
            raise KeyboardInterrupt
        leaf = runner.train_dataloader.dataset
        self.stores[runner.epoch] = boxes_of(leaf) if isinstance(leaf, Spots) else None

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        self.losses.append(outputs['loss'].item())
        for sample in data_batch.get('data_samples', ()):
            for box in getattr(sample, 'crop_box', ()):
                self.crops.setdefault(runner.epoch, []).append((sample.sample_idx, box))


def model(backbone=None, **changes):
    return dict(
        type='viewplug.Siamese',
        backbone=backbone or Brightness(),
        branches=dict(
            image=dict(
                neck=dict(type='viewplug.MLPNeck', in_channels=4, out_channels=8),
                head=dict(type='viewplug.QueueHead', queue_len=16, feat_dim=8, loss=dict(type='viewplug.InfoNCELoss')),
            )
        ),
        data_preprocessor=dict(mean=[127.5] * 3, std=[127.5] * 3),
        **{**dict(target=dict(type='viewplug.MomentumTarget', momentum=0.9)), **changes},
    )


def run(
    work_dir,
    hooks,
    dataset=None,
    epochs=3,
    workers=0,
    start_method='fork',
    lr=0.0,
    net=None,
    by_epoch=True,
    collate='default_collate',
    **changes,
):
    """A trained Runner; the network does not learn unless ``lr`` says so."""
    torch.manual_seed(1)
    hooks = [hook if isinstance(hook, Hook) else LocalizationHook(**hook) for hook in hooks]
    runner = Runner(
        model=net or model(),
        work_dir=str(work_dir),
        experiment_name=f'localization_{next(numbers)}',
        train_dataloader=dict(
            batch_size=4,
            num_workers=workers,
            persistent_workers=workers > 0,
            sampler=dict(type='DefaultSampler', shuffle=True),
            collate_fn=dict(type=collate),
            dataset=dataset or Spots(pipeline=pipeline()),
            **(dict(multiprocessing_context=start_method) if workers else {}),
        ),
        optim_wrapper=dict(optimizer=dict(type='SGD', lr=lr)),
        default_hooks=dict(checkpoint=dict(type='CheckpointHook', interval=1, by_epoch=by_epoch)),
        custom_hooks=hooks,
        randomness=dict(seed=5),
        visualizer=dict(type='Visualizer', vis_backends=[dict(type='LocalVisBackend')]),
        train_cfg=dict(by_epoch=True, max_epochs=epochs) if by_epoch else dict(by_epoch=False, max_iters=2 * epochs),
        **changes,
    )
    runner.train()
    return runner
