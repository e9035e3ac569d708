"""Networks, models and data small enough for a test."""

import math

import numpy as np
import torch
from mmengine.dataset import BaseDataset
from torch import nn

from viewplug.frameworks import Siamese


class ToyBackbone(nn.Module):
    """Two convolutions; no normalisation unless asked, so that images do not see each other."""

    def __init__(self, channels: int = 8, batch_norm: bool = False) -> None:
        super().__init__()
        norm = [nn.BatchNorm2d(channels)] if batch_norm else []
        self.layers = nn.Sequential(
            nn.Conv2d(3, channels, 4, stride=4), *norm, nn.ReLU(), nn.Conv2d(channels, channels, 2, stride=2)
        )

    def forward(self, images):
        return (self.layers(images),)


def toy_resnet(**changes) -> dict:
    """ResNet-18 with an eighth of its channels: 8, 16, 32, 64 at strides 4, 8, 16, 32."""
    return dict(
        type='mmpretrain.ResNet',
        depth=18,
        stem_channels=8,
        base_channels=8,
        out_indices=(0, 1, 2, 3),
        zero_init_residual=False,
        **changes,
    )


def mlp_branch(dim: int = 16, queue_len: int = 32, temperature: float = 0.2, **changes) -> dict:
    return dict(
        neck=dict(type='MLPNeck', out_channels=dim),
        head=dict(
            type='QueueHead', queue_len=queue_len, feat_dim=dim, loss=dict(type='InfoNCELoss', temperature=temperature)
        ),
        **changes,
    )


def hcl_branch(
    input_size: int = 64, dim: int = 16, queue_len: int = 32, temperature: float = 0.2, lateral_channels: int = 8
) -> dict:
    return dict(
        neck=dict(
            type='viewplug.HCLNeck', semantic_channels=dim, input_size=input_size, lateral_channels=lateral_channels
        ),
        head=dict(
            type='viewplug.QueueHead',
            queue_len=queue_len,
            feat_dim=dim + math.ceil(input_size / 16) ** 2,
            loss=dict(type='viewplug.InfoNCELoss', temperature=temperature),
        ),
    )


def toy_siamese(backbone=None, target=None, branches=None, **changes) -> Siamese:
    """MoCo on the toy backbone unless told otherwise, weights initialised."""
    model = Siamese(
        backbone=ToyBackbone() if backbone is None else backbone,
        branches=branches or dict(image=mlp_branch()),
        target=target or dict(type='MomentumTarget', momentum=0.9),
        **changes,
    )
    model.init_weights()
    return model


def toy_views(number: int = 8, size: int = 16, views: int = 2) -> list[torch.Tensor]:
    return list(torch.randn(views, number, 3, size, size))


def total(losses: dict) -> torch.Tensor:
    return sum(value for key, value in losses.items() if 'loss' in key)


class ToyImages(BaseDataset):
    """Image ``i`` is noise drawn from ``i``."""

    def __init__(self, number: int = 16, size: int = 48, **kwargs) -> None:
        self.number, self.size = number, size
        super().__init__(**kwargs)

    def load_data_list(self) -> list[dict]:
        return [dict(index=index) for index in range(self.number)]

    def prepare_data(self, idx: int):
        info = self.get_data_info(idx)
        info['img'] = np.random.RandomState(info['index']).randint(0, 256, (self.size, self.size, 3), dtype=np.uint8)
        return self.pipeline(info)
