"""What ContrastiveCrop's text leaves open on small images is as in its authors' code.

The expected numbers are of github.com/xyupeng/ContrastiveCrop: configs/small, models/, losses/ and utils/util.py.
"""

import copy
import math
from functools import lru_cache
from pathlib import Path

import pytest
import torch
from mmengine import Config
from mmengine.registry import MODELS, PARAM_SCHEDULERS
from torch import nn

from viewplug.config.schedule import set_epochs

CONFIGS = Path(__file__).resolve().parents[2] / 'configs/contrastive_crop'
METHODS = ('simclr', 'moco', 'byol', 'simsiam')

# Linear layers of the projector and of the predictor: inputs, outputs, whether there is a bias, and the norm behind
# ('bn': one without weights). models/ of the authors' code with the sizes of its configs/small/cifar10.
LAYERS = dict(
    simclr=([(512, 512, True, None), (512, 128, True, None)], []),
    moco=([(512, 512, True, None), (512, 128, True, None)], []),
    byol=(
        [(512, 512, True, 'BN'), (512, 128, True, None)],
        [(128, 512, True, 'BN'), (512, 128, True, None)],
    ),
    simsiam=(
        [(512, 512, False, 'BN'), (512, 512, False, 'BN'), (512, 512, False, 'bn')],
        [(512, 128, False, 'BN'), (128, 512, True, None)],
    ),
)
# What the mean over both directions is multiplied by: SimCLR's T / base_temperature; BYOL's is their sum.
WEIGHTS = dict(simclr=0.5 / 0.07, moco=1.0, byol=2.0, simsiam=1.0)
MOMENTA = dict(moco=0.999, byol=0.996)
TEMPERATURES = dict(simclr=0.5, moco=0.2)
STARTS_AT_ZERO = dict(simclr=False, moco=False, byol=False, simsiam=True)
MEANS = dict(  # and deviations, of pixels in [0, 1]
    cifar10=((0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010)),
    cifar100=((0.5071, 0.4867, 0.4408), (0.2675, 0.2565, 0.2761)),
    tiny=((0.4802, 0.4481, 0.3975), (0.2302, 0.2265, 0.2262)),
    stl10=((0.4406, 0.4273, 0.3858), (0.2312, 0.2265, 0.2237)),
)


@lru_cache
def read(data, method):
    return Config.fromfile(CONFIGS / f'{data}/{method}_ccrop.py')


@lru_cache
def small_model(method):
    cfg = copy.deepcopy(read('cifar10', method).model)
    if 'queue_len' in cfg.branches.image.head:
        cfg.branches.image.head.queue_len = 8
    model = MODELS.build(cfg)
    model.backbone.init_weights()
    return model


def layers(mlp):
    """Of each linear layer: inputs, outputs, whether it has a bias, and the norm behind it."""
    found = []
    for module in mlp:
        if isinstance(module, nn.Linear):
            found.append((module.in_features, module.out_features, module.bias is not None, None))
        elif isinstance(module, nn.BatchNorm1d):
            found[-1] = (*found[-1][:3], 'BN' if module.affine else 'bn')
    return found


@pytest.mark.parametrize('method', METHODS)
def test_networks_are_the_authors_on_all_four_data_sets(method):
    model = small_model(method)
    branch, predictor = model.branches.image, getattr(model.branches.image.head, 'predictor', None)
    assert (layers(branch.neck.mlp), layers(predictor.mlp) if predictor else []) == LAYERS[method]
    blocks = [block for stage in model.backbone.res_layers for block in getattr(model.backbone, stage)]
    assert len(blocks) == 8
    assert {bool((block.norm2.weight == 0).all()) for block in blocks} == {STARTS_AT_ZERO[method]}
    assert all(read(data, method).model == read('cifar10', method).model for data in MEANS)
    assert read('cifar10', method).get('sync_bn') == (None if method == 'moco' else 'torch')  # DDP_*.py


@pytest.mark.parametrize('method', METHODS)
def test_losses_and_targets_are_the_authors(method):
    model = small_model(method)
    branch = model.branches.image
    assert branch.weight == WEIGHTS[method]
    assert getattr(branch.head.loss_module, 'temperature', None) == TEMPERATURES.get(method)
    if method in MOMENTA:
        assert {model.target.momentum_at(step) for step in (0, 1000, 48_499)} == {MOMENTA[method]}
        assert model.target.eman == (method == 'moco')  # ours, in place of shuffling
    torch.manual_seed(0)
    views = [torch.randn(4, 3, 32, 32) for _ in range(2)]
    model.train().loss(views)
    earlier_keys = model.latest['image']['target'][1]
    loss = model.loss(views)['image.loss'].item()
    z = [model.latest['image'][side] for side in ('online', 'target')]
    if method == 'simclr':  # NT-Xent over the 8 embeddings
        rows = torch.cat([z[0][0], z[0][1]])
        logits = (rows @ rows.t() / 0.5).fill_diagonal_(float('-inf'))
        plain = nn.functional.cross_entropy(logits, torch.arange(8).roll(4)).item()
    elif method == 'moco':
        positive = (z[0][0] * z[1][1]).sum(dim=1, keepdim=True)
        logits = torch.cat([positive, z[0][0] @ earlier_keys.t()], dim=1) / 0.2
        plain = nn.functional.cross_entropy(logits, torch.zeros(4, dtype=torch.long)).item()
    else:
        with torch.no_grad():
            pairs = [(branch.head.predictor((z[0][a],))[0], z[1][b]) for a, b in ((0, 1), (1, 0))]
            cosines = sum(nn.functional.cosine_similarity(p, t).mean().item() for p, t in pairs)
        plain = 2 - cosines if method == 'byol' else -cosines / 2  # the mean of both 2 - 2 cos, or of both -cos
    assert loss == pytest.approx(WEIGHTS[method] * plain, rel=1e-4, abs=1e-6)


@pytest.mark.parametrize('epochs', [500, 200, 7])
def test_the_learning_rate_is_the_authors_in_every_epoch_of_runs_of_any_length(epochs):
    cfg = copy.deepcopy(read('cifar10', 'simclr'))
    set_epochs(cfg, epochs)
    (schedule,) = cfg.param_scheduler
    assert schedule.by_epoch and not schedule.get('convert_to_iter_based')
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=cfg.optim_wrapper.optimizer.lr)
    scheduler = PARAM_SCHEDULERS.build(dict(schedule, optimizer=optimizer))
    found = []
    for _ in range(epochs):
        found.append(optimizer.param_groups[0]['lr'])
        optimizer.step()
        scheduler.step()
    # utils/util.py, with decay_rate=0.1; its epochs count from 1.
    assert found == pytest.approx([0.05 + 0.45 * (1 + math.cos(math.pi * e / epochs)) / 2 for e in range(epochs)])


@pytest.mark.parametrize('data', MEANS)
def test_means_and_deviations_are_the_authors(data):
    found = read(data, 'simclr').data_preprocessor
    for key, expected in zip(('mean', 'std'), MEANS[data], strict=True):
        assert found[key] == pytest.approx([255 * value for value in expected], abs=1e-3)
