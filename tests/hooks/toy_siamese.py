"""A tiny model, data set and Runner that fulfil the contract of viewplug.Siamese, for the tests of hooks."""

import json
from pathlib import Path

import torch
import torch.nn.functional as F
from mmengine.model import BaseDataPreprocessor, BaseModel
from mmengine.runner import Runner
from mmpretrain.structures import DataSample
from torch import nn
from torch.utils.data import Dataset

MEAN, STD = (120.0, 110.0, 100.0), (60.0, 50.0, 40.0)


class ToyImages(Dataset):
    """Images of two classes, a bright upper or a bright lower half; several random views, or one plain one."""

    def __init__(self, length=12, views=2, labelled=True, sizes=(16, 16)):
        self.length, self.views, self.labelled, self.sizes = length, views, labelled, sizes

    def __len__(self):
        return self.length

    def __getitem__(self, index):
        image = torch.randint(0, 120, (3, 16, 16), generator=torch.Generator().manual_seed(index)).float()
        image[0, :8] += 130 * (index % 2)
        image[1, 8:] += 130 * (1 - index % 2)
        sample = DataSample(metainfo=dict(sample_idx=index))
        if self.labelled:
            sample.set_gt_label(index % 2)
        if self.views == 1:
            return dict(inputs=image.to(torch.uint8), data_samples=sample)
        views = []
        for number in range(self.views):
            size = self.sizes[number % len(self.sizes)]
            view = (image + 10 * torch.randn(image.shape)).clamp(0, 255)
            views.append(F.interpolate(view[None], size=(size, size))[0].to(torch.uint8))
        return dict(inputs=views, data_samples=sample)


class Normalise(BaseDataPreprocessor):
    def __init__(self):
        super().__init__()
        self.register_buffer('mean', torch.tensor(MEAN).view(3, 1, 1), False)
        self.register_buffer('std', torch.tensor(STD).view(3, 1, 1), False)

    def forward(self, data, training=False):
        data = self.cast_data(data)
        many = isinstance(data['inputs'], list)
        inputs = [(x.float() - self.mean) / self.std for x in (data['inputs'] if many else [data['inputs']])]
        return dict(inputs=inputs if many else inputs[0], data_samples=data['data_samples'])


class ToySiamese(BaseModel):
    """``collapsed`` makes every embedding the same vector."""

    def __init__(self, collapsed=False):
        super().__init__(data_preprocessor=Normalise())
        self.backbone = nn.Sequential(nn.Conv2d(3, 8, 3, stride=2), nn.BatchNorm2d(8), nn.ReLU())
        self.neck = nn.Linear(8, 8)
        self.target = nn.Module()
        self.target.backbone = nn.Conv2d(3, 4, 3)
        self.collapsed = collapsed
        self.latest = {}

    def forward(self, inputs, data_samples=None, mode='tensor'):
        if mode == 'tensor':
            return self.backbone(inputs)
        z = [self.neck(self.backbone(view).mean((2, 3))) for view in inputs[:2]]
        if self.collapsed:
            z = [x * 0 + 1 for x in z]
        self.latest['image'] = dict(online={0: z[0].detach()}, target={1: z[1].detach()})
        extra = sum(p.sum() for p in self.target.parameters()) * 0
        return dict(loss=F.mse_loss(z[0], z[1]) + 0.1 * torch.randn(()) * z[0].mean() + extra)


def collate(batch):
    inputs = [item['inputs'] for item in batch]
    stacked = (
        torch.stack(inputs)
        if isinstance(inputs[0], torch.Tensor)
        else [torch.stack(v) for v in zip(*inputs, strict=True)]
    )
    return dict(inputs=stacked, data_samples=[item['data_samples'] for item in batch])


def loader(dataset, batch_size=6, shuffle=False):
    sampler = dict(type='DefaultSampler', shuffle=shuffle)
    return dict(dataset=dataset, batch_size=batch_size, num_workers=0, sampler=sampler, collate_fn=collate)


def make_runner(work_dir, hooks=(), model=None, epochs=2, seed=3, train=None, **kwargs):
    """A Runner on 12 images, 2 iterations an epoch."""
    torch.manual_seed(seed)
    kwargs.setdefault('train_cfg', dict(by_epoch=True, max_epochs=epochs))
    return Runner(
        model=model or ToySiamese(),
        work_dir=str(work_dir),
        train_dataloader=train or loader(ToyImages(), shuffle=True),
        optim_wrapper=dict(optimizer=dict(type='SGD', lr=0.1)),
        custom_hooks=list(hooks),
        default_hooks=dict(logger=dict(type='LoggerHook', interval=1)),
        randomness=dict(seed=seed),
        visualizer=dict(type='Visualizer', vis_backends=[dict(type='LocalVisBackend')]),
        default_scope='mmengine',
        log_level='INFO',
        experiment_name=f'{Path(work_dir).name}_{id(kwargs)}',
        **kwargs,
    )


def scalars(work_dir):
    """Everything that reached LocalVisBackend, one dict a line."""
    (path,) = Path(work_dir).glob('*/vis_data/scalars.json')
    return [json.loads(line) for line in path.read_text().splitlines()]


def log_text(work_dir):
    return ''.join(path.read_text() for path in Path(work_dir).glob('*/*.log'))
