"""The configs of SimCLR's study have the paper's settings and build."""

from functools import lru_cache
from pathlib import Path

import pytest
import torch
from mmengine import Config
from mmengine.dataset import Compose
from mmengine.optim import build_optim_wrapper
from mmengine.registry import MODELS, DefaultScope
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from toys import total

from viewplug.batch_views.view import View
from viewplug.run.demo import to_demo

CONFIGS = Path(__file__).resolve().parents[2] / 'configs/simclr'
BATCHES = (256, 512, 1024, 2048, 4096, 8192)
WIDTHS = {2: 94, 4: 375}  # million parameters of the backbone, table 6
ADDED = dict(color=None, rotation='QuarterTurn', noise='GaussianNoise', sobel='Sobel')
HEADS = dict(head_none=(2048, []), head_linear=(128, [(2048, 128)]), r50_b4096=(128, [(2048, 2048), (2048, 128)]))
NAMES = [path.stem for path in sorted(CONFIGS.glob('*.py'))]


@lru_cache
def read(name: str) -> Config:
    return Config.fromfile(CONFIGS / f'{name}.py')


def built(name: str) -> nn.Module:
    cfg = read(name)
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        return MODELS.build(cfg.model.copy())


def view_of(cfg: Config) -> list:
    (multi_view,) = [step for step in cfg.train_dataloader.dataset.pipeline if step.type.endswith('MultiView')]
    assert multi_view.num_views == 2
    return multi_view.transforms[0]


def test_there_is_a_config_for_each_cell_and_no_other():
    cells = [*(f'r50_b{batch}' for batch in BATCHES), *(f'r50x{width}_b4096' for width in WIDTHS)]
    assert set(NAMES) == {*cells, *HEADS, *(f'table3_{name}' for name in ADDED)}


@pytest.mark.parametrize('batch', BATCHES)
def test_batches_are_shared_by_eight_processes_and_the_learning_rate_follows(batch):
    cfg = read(f'r50_b{batch}')
    assert 8 * cfg.train_dataloader.batch_size == batch
    assert cfg.auto_scale_lr == dict(base_batch_size=256, enable=True)
    optimizer = cfg.optim_wrapper.optimizer
    assert (optimizer.type, optimizer.lr, optimizer.momentum) == ('mmpretrain.LARS', 0.3, 0.9)
    assert optimizer.weight_decay == 1e-6
    warm_up, cosine = cfg.param_scheduler
    assert (warm_up.end, cosine.begin, cosine.T_max, cosine.end, cfg.train_cfg.max_epochs) == (10, 10, 90, 100, 100)
    assert cfg.model.branches.image.head.loss.temperature == 0.1


@pytest.mark.parametrize('name', ['r50_b4096', 'head_none', 'head_linear'])
def test_lars_leaves_norms_and_biases_alone_and_adapts_everything_else(name):
    model = built(name)
    groups = build_optim_wrapper(model, read(name).optim_wrapper).optimizer.param_groups
    settings = {
        p: (group.get('lars_exclude', False), group['weight_decay']) for group in groups for p in group['params']
    }
    norms = {p for module in model.modules() if isinstance(module, _BatchNorm) for p in module.parameters()}
    for key, parameter in model.named_parameters():
        plain = parameter in norms or key.endswith('bias')
        assert settings[parameter] == ((True, 0.0) if plain else (False, 1e-6)), key
    assert sum(excluded for excluded, _ in settings.values()) >= 106  # two for each of the backbone's 53 norms


@pytest.mark.parametrize('width', WIDTHS)
def test_wide_networks_have_the_papers_size_and_a_projector_as_wide(width, monkeypatch):
    cfg = read(f'r50x{width}_b4096').model
    monkeypatch.setattr(torch.Tensor, 'item', lambda self: 0.0)  # of the drop path rates, on a device without values
    with torch.device('meta'):  # 375 M weights would take a while
        backbone = MODELS.build(cfg.backbone)
    millions = sum(p.numel() for p in backbone.parameters()) / 1e6
    assert millions == pytest.approx(WIDTHS[width], abs=1)
    assert backbone.layer4[-1].conv3.out_channels == cfg.branches.image.neck.hidden_channels == 2048 * width


def test_the_wide_projector_reads_the_wide_features():
    linears = [m for m in built('r50x2_b4096').branches['image'].neck.modules() if isinstance(m, nn.Linear)]
    assert [(m.in_features, m.out_features) for m in linears] == [(4096, 4096), (4096, 128)]


@pytest.mark.parametrize('name', HEADS)
def test_heads_of_fig_8(name):
    neck = built(name).branches['image'].neck
    linears = [(m.in_features, m.out_features) for m in neck.modules() if isinstance(m, nn.Linear)]
    assert (neck.out_channels, linears) == HEADS[name]
    assert torch.allclose(neck([torch.randn(2, 2048, 3, 3)])[0].norm(dim=1), torch.ones(2), atol=1e-5)


@pytest.mark.parametrize('task', ADDED)
def test_table_3_adds_one_operator_to_crop_and_colour_and_has_a_wide_projection(task):
    cfg = read(f'table3_{task}')
    names = [step.type.split('.')[-1] for step in view_of(cfg)]
    added = [ADDED[task]] if ADDED[task] else []
    assert names == ['RandomResizedCrop', 'RandomFlip', 'RandomApply', 'RandomGrayscale', *added]
    assert cfg.model.branches.image.neck.out_channels == 2048
    assert view_of(cfg)[0].interpolation == 'bicubic'  # as SimCLR's code


@pytest.mark.parametrize('name', ['r50_b4096', 'table3_rotation', 'table3_noise', 'table3_sobel'])
def test_views_are_made_one_by_one_and_in_batch(name):
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        transform = Compose([step for step in read(name).train_dataloader.dataset.pipeline if 'Load' not in step.type])
    pixels = torch.randint(0, 256, (60, 80, 3), dtype=torch.uint8)
    sample = dict(img=pixels.numpy(), sample_idx=0, img_shape=(60, 80), ori_shape=(60, 80))
    assert [tuple(view.shape) for view in transform(sample)['inputs']] == [(3, 224, 224)] * 2
    assert View(view_of(read(name)))(pixels.permute(2, 0, 1)[None])[0].shape == (1, 3, 224, 224)


@pytest.mark.parametrize('name', NAMES)
def test_every_config_takes_a_step_as_a_demo(name):
    cfg = to_demo(read(name))
    assert cfg.optim_wrapper.optimizer.type == 'SGD'
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        model = MODELS.build(cfg.model)
        optimizer = build_optim_wrapper(model, cfg.optim_wrapper)
    before = model.backbone.conv1.weight.clone()
    loss = total(model(list(torch.randn(2, 4, 3, 32, 32)), None, mode='loss'))
    optimizer.update_params(loss)
    assert not torch.equal(model.backbone.conv1.weight, before)
