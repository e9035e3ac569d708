"""viewplug's SimCLR, BYOL and SimSiam take the very steps of mmpretrain's.

Where batch norm's running statistics differ by design (nothing in training reads them):
- BYOL's target: theirs are copied from online each step, ours gathered by its own forwards, one a view, as online's.
- The predictors of BYOL and SimSiam: both see each view once a step, ours view 1 first and theirs view 0.

BYOL's momentum is that of the step which the target follows, as in the paper; theirs is the next one's, set back here.
"""

import pytest
import torch
from mmengine.dist import get_world_size
from mmengine.logging import MessageHub
from mmpretrain.models.selfsup import BYOL, SimCLR, SimSiam
from processes import in_processes
from steps import fit
from toys import toy_resnet, toy_siamese

BATCH, SIZE, STEPS, TOTAL, LR, DIM, HIDDEN, MOMENTUM, TEMPERATURE = 8, 64, 3, 4, 0.05, 12, 10, 0.9, 0.3
METHODS = ('simclr', 'byol', 'simsiam')
STATISTICS = ('running_mean', 'running_var')
PREFIXES = (
    ('backbone.', 'backbone.'),
    ('branches.image.neck.', 'neck.'),
    ('branches.image.head.predictor.', 'head.predictor.'),
    ('target.backbone.', 'target_net.module.0.'),
    ('target.necks.image.', 'target_net.module.1.'),
)


def ours(method: str, norm: dict | None = None):
    bn = norm or dict(type='BN')
    plain = norm or dict(type='BN', affine=False)
    neck = dict(type='MLPNeck', hidden_channels=HIDDEN, out_channels=DIM, norm_cfg=bn)
    predictor = dict(type='MLPNeck', hidden_channels=HIDDEN, norm_cfg=bn, normalize=False)
    if method == 'simclr':
        loss = dict(type='InfoNCELoss', temperature=TEMPERATURE)
        branch = dict(
            neck=dict(neck, bias=False, last_bias=False, last_norm_cfg=bn), head=dict(type='InBatchHead', loss=loss)
        )
        target = dict(type='SharedTarget')
    elif method == 'byol':
        head = dict(
            type='PredictHead',
            predictor=dict(predictor, last_bias=False),
            loss=dict(type='CosineLoss', scale=2, shift=2),
        )
        branch = dict(neck=dict(neck, last_bias=False, normalize=False), head=head, weight=2.0)
        target = dict(type='MomentumTarget', momentum=MOMENTUM, end_momentum=1.0, total_steps=TOTAL)
    else:
        neck = dict(neck, num_layers=3, bias=False, last_bias=False, last_norm_cfg=plain, normalize=False)
        branch = dict(neck=neck, head=dict(type='PredictHead', predictor=dict(predictor, bias=False)))
        target = dict(type='StopGradTarget')
    backbone = toy_resnet(norm_cfg=norm) if norm else toy_resnet()
    views = dict(online_views=(0, 1), target_views=(0, 1), joint_views=method == 'simclr')
    return toy_siamese(backbone=backbone, branches=dict(image=branch), target=target, **views).double()


def theirs(method: str):
    """mmpretrain's model as its configs have it, at toy size."""
    wide = dict(type='NonLinearNeck', in_channels=64, hid_channels=HIDDEN, out_channels=DIM, norm_cfg=dict(type='BN1d'))
    predictor = dict(wide, in_channels=DIM, with_avg_pool=False, with_last_bn=False)
    backbone = dict(toy_resnet(), out_indices=(3,))
    cosine = dict(type='CosineSimilarityLoss')
    if method == 'simclr':
        head = dict(type='ContrastiveHead', loss=dict(type='CrossEntropyLoss'), temperature=TEMPERATURE)
        return SimCLR(backbone=backbone, neck=wide, head=head).double()
    if method == 'byol':
        predictor = dict(predictor, with_bias=True)
        head = dict(type='LatentPredictHead', predictor=predictor, loss=cosine)
        neck = dict(wide, with_bias=True, with_last_bn=False)
        stock = BYOL(backbone=backbone, neck=neck, head=head, base_momentum=1 - MOMENTUM).double()
        average = stock.target_net.avg_func
        stock.target_net.avg_func = lambda mean, value, steps: average(mean, value, steps - 1)
        return stock
    head = dict(type='LatentPredictHead', predictor=dict(predictor, with_last_bias=True), loss=cosine)
    neck = dict(wide, num_layers=3, with_last_bn_affine=False)
    return SimSiam(backbone=backbone, neck=neck, head=head).double()


def names_in_theirs(model, stock) -> dict[str, str]:
    """Our tensors -> theirs. Both list a part's tensors in the order of its layers."""
    names = {}
    for mine, their in PREFIXES:
        found = [
            [key for key in of.state_dict() if key.startswith(start)] for of, start in ((model, mine), (stock, their))
        ]
        names.update(zip(*found, strict=True))
    return names


def batches_of() -> torch.Tensor:
    generator = torch.Generator().manual_seed(7)
    return torch.randn(STEPS, 2, BATCH, 3, SIZE, SIZE, generator=generator, dtype=torch.float64)


def both_histories(method: str, wrap: bool):
    torch.manual_seed(1)
    model, stock = ours(method), theirs(method)
    names = names_in_theirs(model, stock)
    assert set(names) >= {key for key in model.state_dict() if key != 'target.steps'}
    start = {names[key]: value.clone() for key, value in model.state_dict().items() if key in names}
    assert set(stock.load_state_dict(start, strict=False).missing_keys) <= {'target_net.steps'}
    hub = MessageHub.get_current_instance()
    hub.update_info('max_iters', TOTAL)  # mmpretrain's momentum schedule asks there
    try:
        # In W processes their SimCLR has 1 / W of the gradient: SGD takes the same step at W times the rate.
        lr = LR * get_world_size() if method == 'simclr' else LR
        their_history = fit(stock, batches_of(), wrap, lr)
    finally:
        hub.runtime_info.pop('max_iters')
    return names, their_history, fit(model, batches_of(), wrap, LR)


def assert_same_steps(method: str, names, their_history, our_history, processes: int) -> None:
    their_share = processes if method == 'simclr' else 1
    for expected, found in zip(their_history, our_history, strict=True):
        assert len(found['gradients']) == len(expected['gradients']) > 60
        for key, gradient in found['gradients'].items():
            assert close(gradient, expected['gradients'][names[key]] * their_share), key
        assert max(gradient.abs().max() for gradient in found['gradients'].values()) > 1e-2
        compared = 0
        for key, name in names.items():
            if key.endswith(STATISTICS) and key.startswith(('target.', 'branches.image.head.')):
                continue  # see above
            if key.endswith('num_batches_tracked') and key.startswith('target.'):
                continue
            assert close(found['state'][key], expected['state'][name]), key
            compared += 1
        assert compared > 120


def loss_of_theirs(method: str, history: list[dict]) -> list[float]:
    """In our units: BYOL's equation has 2 - 2 cos in both directions, mmpretrain's value lacks the constant."""
    return [step['loss'] + (4 if method == 'byol' else 0) for step in history]


def close(a: torch.Tensor, b: torch.Tensor) -> bool:
    """Theirs adds 1e-10 to SimCLR's norms and has BYOL's momentum in float32; three steps make 1e-8 of it."""
    return torch.allclose(a, b, rtol=1e-6, atol=1e-6)


def equal(a: torch.Tensor, b: torch.Tensor) -> bool:
    return torch.allclose(a, b, rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize('method', METHODS)
def test_one_process_takes_the_steps_of_mmpretrain(method):
    names, their_history, our_history = both_histories(method, wrap=False)
    losses = [step['loss'] for step in our_history]
    assert losses == pytest.approx(loss_of_theirs(method, their_history), abs=1e-7)
    assert len(set(losses)) == STEPS
    assert_same_steps(method, names, their_history, our_history, processes=1)


@pytest.mark.parametrize('method', METHODS)
def test_two_processes_take_the_steps_of_mmpretrain(method, tmp_path):
    ranks = in_processes(both_histories, tmp_path, method, True)
    for names, their_history, our_history in ranks:
        assert_same_steps(method, names, their_history, our_history, processes=2)
    mine = torch.tensor([[step['loss'] for step in our_history] for _, _, our_history in ranks], dtype=torch.float64)
    their = torch.tensor([loss_of_theirs(method, history) for _, history, _ in ranks], dtype=torch.float64)
    if method == 'simclr':  # each of their processes has the loss of all queries, each of ours that of its own
        mine = mine.mean(dim=0).expand(2, -1)
    assert torch.allclose(mine, their, atol=1e-7)


def history_without_batch_norm(method: str, wrap: bool) -> list[dict]:
    torch.manual_seed(1)
    return fit(ours(method, norm=dict(type='GN', num_groups=2)), batches_of(), wrap, LR)


@pytest.mark.parametrize('method', METHODS)
def test_two_processes_with_half_the_batch_equal_one_apart_from_batch_norm(method, tmp_path):
    alone = history_without_batch_norm(method, wrap=False)
    first, second = in_processes(history_without_batch_norm, tmp_path, method, True)
    for expected, a, b in zip(alone, first, second, strict=True):
        assert (a['loss'] + b['loss']) / 2 == pytest.approx(expected['loss'], rel=1e-9)
        for key, gradient in expected['gradients'].items():
            assert equal(a['gradients'][key], gradient) and equal(b['gradients'][key], gradient), key
        for key, value in expected['state'].items():
            assert equal(a['state'][key], value) and equal(b['state'][key], value), key


def test_byols_target_follows_a_momentum_that_rises_to_one():
    _, _, history = both_histories('byol', wrap=False)
    steps = [
        (history[i]['state'], history[i + 1]['state'], (1 + torch.tensor(torch.pi * i / TOTAL).cos()) / 2)
        for i in range(STEPS - 1)
    ]
    for before, after, remaining in steps:
        momentum = 1 - (1 - MOMENTUM) * remaining.double()
        online, target = (before[f'{side}.layer4.1.conv2.weight'] for side in ('backbone', 'target.backbone'))
        expected = momentum * target + (1 - momentum) * online
        assert torch.allclose(after['target.backbone.layer4.1.conv2.weight'], expected, atol=1e-8)
