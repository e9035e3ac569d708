"""The models of a step: viewplug's from its config, and mmpretrain's of the same networks with the same weights."""

from __future__ import annotations

from pathlib import Path

import torch
from mmengine import Config
from mmengine.logging import MessageHub
from mmengine.registry import MODELS
from torch import Tensor, nn

from viewplug.backbones.layout import backbone_layout

CONFIGS = Path(__file__).resolve().parents[2] / 'configs/_base_'
STEPS = 10_000
TOY_QUEUE = 32
PARTS = (
    ('backbone.', 'backbone.'),
    ('branches.image.neck.', 'neck.'),
    ('branches.image.head.predictor.', 'head.predictor.'),
)


class Step:
    """One training step a call, on the same random views each time.

    Args:
        model: of viewplug or mmpretrain.
        batch, size: of the views (N, 3, size, size).
        device: of it all.
    """

    def __init__(self, model: nn.Module, batch: int, size: int, device: str) -> None:
        random = torch.Generator().manual_seed(0)
        self.model = model.to(device).train()
        self.views = [torch.randn(batch, 3, size, size, generator=random).to(device) for _ in range(2)]
        online = [p for p in self.model.parameters() if p.requires_grad]
        self.optimizer = torch.optim.SGD(online, lr=0.03, momentum=0.9, weight_decay=1e-4)

    def __call__(self) -> Tensor:
        losses = self.model(self.views, None, mode='loss')
        loss = sum(value for key, value in losses.items() if 'loss' in key)
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        return loss.detach()


def viewplug_model(config: str, depth: int, toy: bool = False) -> nn.Module:
    """The model of a config, random weights from a fixed seed."""
    torch.manual_seed(0)
    return MODELS.build(_config(config, depth, toy))


def stock_model(config: str, depth: int, toy: bool = False) -> nn.Module:
    """mmpretrain's algorithm for the same config, with the same weights and queue."""
    ours = viewplug_model(config, depth, toy)
    cfg = _config(config, depth, toy)
    stock = MODELS.build(_stock_config(cfg, ours))
    start = stock.state_dict()
    mine = ours.state_dict()
    for prefix, theirs in PARTS:
        names = [key for key in mine if key.startswith(prefix)]
        # Both list a part's tensors in the order of its layers.
        for name, key in zip(names, [key for key in start if key.startswith(theirs)], strict=True):
            start[key] = mine[name]
    if 'queue' in start:
        start['queue'] = mine['branches.image.head.queue'].t()
    stock.load_state_dict(start)
    for averaged in (getattr(stock, 'encoder_k', None), getattr(stock, 'target_net', None)):
        if averaged is not None:
            averaged.module.load_state_dict(nn.Sequential(stock.backbone, stock.neck).state_dict())
    return stock


def _config(config: str, depth: int, toy: bool) -> dict:
    cfg = Config.fromfile(CONFIGS / f'{config}.py').model.to_dict()
    backbone, branch = cfg['backbone'], cfg['branches']['image']
    backbone['depth'] = depth
    if toy:
        backbone.update(stem_channels=8, base_channels=8)
        branch['neck'].update(hidden_channels=32)
        branch['head'].update(dict(queue_len=TOY_QUEUE) if 'queue_len' in branch['head'] else {})
    if cfg['target'].get('end_momentum') is not None:
        cfg['target']['total_steps'] = STEPS
    if 'queue_len' in branch['head']:
        branch['head']['start'] = 'random'
        cfg['target'].update(shuffle_bn=False, eman=False)
    return cfg


def _stock_config(cfg: dict, ours: nn.Module) -> dict:
    branch = cfg['branches']['image']
    neck, head = branch['neck'], branch['head']
    backbone = {**cfg['backbone'], 'out_indices': (3,)}
    wide = dict(
        type='mmpretrain.NonLinearNeck',
        in_channels=backbone_layout(ours.backbone)[0][-1],
        hid_channels=neck['hidden_channels'],
        out_channels=neck['out_channels'],
        num_layers=neck['num_layers'],
        norm_cfg=dict(type='BN1d'),
    )
    contrast = dict(
        type='mmpretrain.ContrastiveHead',
        loss=dict(type='mmpretrain.CrossEntropyLoss'),
        temperature=head['loss'].get('temperature'),
    )
    if head['type'] == 'viewplug.QueueHead':
        plain = {key: wide[key] for key in ('in_channels', 'hid_channels', 'out_channels')}
        return dict(
            type='mmpretrain.MoCo',
            backbone=backbone,
            neck=dict(type='mmpretrain.MoCoV2Neck', **plain),
            head=contrast,
            queue_len=head['queue_len'],
            feat_dim=neck['out_channels'],
            momentum=1 - cfg['target']['momentum'],
        )
    if head['type'] == 'viewplug.InBatchHead':
        return dict(type='mmpretrain.SimCLR', backbone=backbone, neck=wide, head=contrast)
    predictor = dict(
        wide,
        in_channels=neck['out_channels'],
        hid_channels=head['predictor']['hidden_channels'],
        num_layers=head['predictor']['num_layers'],
        with_avg_pool=False,
        with_last_bn=False,
    )
    latent = dict(type='mmpretrain.LatentPredictHead', loss=dict(type='mmpretrain.CosineSimilarityLoss'))
    if cfg['target']['type'] == 'viewplug.MomentumTarget':
        MessageHub.get_current_instance().update_info('max_iters', STEPS)  # its momentum schedule asks there
        return dict(
            type='mmpretrain.BYOL',
            backbone=backbone,
            neck=dict(wide, with_bias=True, with_last_bn=False),
            head=dict(latent, predictor=dict(predictor, with_bias=True)),
            base_momentum=1 - cfg['target']['momentum'],
        )
    return dict(
        type='mmpretrain.SimSiam',
        backbone=backbone,
        neck=dict(wide, with_last_bn_affine=False),
        head=dict(latent, predictor=dict(predictor, with_last_bias=True)),
    )
