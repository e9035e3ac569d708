"""viewplug's MoCo and HCL take the very steps of mmpretrain's MoCo."""

import pytest
import torch
from mmpretrain.models.selfsup import MoCo
from processes import in_processes
from steps import fit
from torch.nn.functional import normalize
from toys import hcl_branch, mlp_branch, toy_resnet, toy_siamese

from viewplug.losses import InfoNCELoss

BATCH, QUEUE, STEPS, DIM, TEMPERATURE = 8, 32, 3, 16, 0.2
SIZE = dict(mlp=64, hcl=224)
CHANNELS, STRIDES = (8, 16, 32, 64), (4, 8, 16, 32)


def ours(kind: str, **backbone):
    branch = (
        mlp_branch(DIM, QUEUE, TEMPERATURE)
        if kind == 'mlp'
        else hcl_branch(SIZE[kind], 128, QUEUE, TEMPERATURE)  # 128 + 196 = 324 numbers
    )
    target = dict(type='MomentumTarget', momentum=0.99, shuffle_bn=not backbone)
    return toy_siamese(backbone=toy_resnet(**backbone), branches=dict(image=branch), target=target)


def theirs(kind: str, start: dict[str, torch.Tensor]) -> MoCo:
    """mmpretrain's MoCo with the weights and the queue of ours."""
    if kind == 'mlp':
        backbone = dict(toy_resnet(), out_indices=(3,))
        neck = dict(type='MoCoV2Neck', in_channels=64, hid_channels=64, out_channels=DIM)
        temperature, feat_dim = TEMPERATURE, DIM
    else:
        backbone = toy_resnet()
        neck = dict(
            type='viewplug.HCLNeck',
            in_channels=CHANNELS,
            in_strides=STRIDES,
            semantic_channels=128,
            input_size=SIZE[kind],
            lateral_channels=8,
        )
        temperature, feat_dim = TEMPERATURE / 2, 324  # it normalises the two unit halves once more
    model = MoCo(
        backbone=backbone,
        neck=neck,
        head=dict(type='ContrastiveHead', loss=dict(type='CrossEntropyLoss'), temperature=temperature),
        queue_len=QUEUE,
        feat_dim=feat_dim,
        momentum=0.01,
    )
    result = model.load_state_dict({in_theirs(key): value for key, value in start.items() if in_theirs(key)}, False)
    assert not result.unexpected_keys and set(result.missing_keys) == {'queue', 'queue_ptr', 'encoder_k.steps'}
    scale = 1 if kind == 'mlp' else 2**0.5
    model.queue.copy_(start['branches.image.head.queue'].t() / scale)
    return model


def in_theirs(key: str) -> str | None:
    """The name of one of our tensors in mmpretrain's MoCo; None for what has no counterpart under one name."""
    for mine, their in (
        ('backbone.', 'backbone.'),
        ('branches.image.neck.', 'neck.'),
        ('target.backbone.', 'encoder_k.module.0.'),
        ('target.necks.image.', 'encoder_k.module.1.'),
    ):
        if key.startswith(mine):
            return their + key.removeprefix(mine)
    return None


def batches_of(kind: str) -> torch.Tensor:
    generator = torch.Generator().manual_seed(7)
    return torch.randn(STEPS, 2, BATCH, 3, SIZE[kind], SIZE[kind], generator=generator, dtype=torch.float64)


def both_histories(kind: str, wrap: bool):
    torch.manual_seed(1)
    model = ours(kind)
    start = {key: value.clone() for key, value in model.state_dict().items()}
    # In float64: in float32 a ReLU near 0 opens in one of two equal models, and their third gradients differ by 0.5 %.
    return tuple(fit(one.double(), batches_of(kind), wrap) for one in (theirs(kind, start), model))


def assert_same_steps(their_history, our_history, kind: str) -> None:
    for expected, found in zip(their_history, our_history, strict=True):
        assert found['loss'] == pytest.approx(expected['loss'], abs=1e-5)
        assert len(found['gradients']) == len(expected['gradients']) > 60
        for key, gradient in found['gradients'].items():
            assert close(gradient, expected['gradients'][in_theirs(key)]), key
        compared = 0
        for key, value in found['state'].items():
            # Target statistics differ by design: theirs are copied from online, ours gathered by its own forwards.
            if in_theirs(key) and not (key.startswith('target.') and key.endswith(STATISTICS)):
                assert close(value, expected['state'][in_theirs(key)]), key
                compared += 1
        assert compared > 150
        scale = 1 if kind == 'mlp' else 2**0.5
        assert close(found['state']['branches.image.head.queue'], expected['state']['queue'].t() * scale)
        assert found['state']['branches.image.head.pointer'] == expected['state']['queue_ptr'][0]
        assert found['state']['target.steps'] == expected['state']['encoder_k.steps']


STATISTICS = ('running_mean', 'running_var', 'num_batches_tracked')


def close(a: torch.Tensor, b: torch.Tensor) -> bool:
    return torch.allclose(a, b, rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize('kind', ['mlp', 'hcl'])
def test_one_process_takes_the_steps_of_mmpretrains_moco(kind):
    their_history, our_history = both_histories(kind, wrap=False)
    assert_same_steps(their_history, our_history, kind)
    assert len({step['loss'] for step in our_history}) == STEPS


@pytest.mark.parametrize('kind', ['mlp', 'hcl'])
def test_two_processes_with_shuffled_batch_norm_take_the_steps_of_mmpretrains_moco(kind, tmp_path):
    histories = in_processes(both_histories, tmp_path, kind, True)
    for their_history, our_history in histories:
        assert_same_steps(their_history, our_history, kind)
    (_, first), (_, second) = histories
    assert first[-1]['loss'] != second[-1]['loss']
    assert close(first[-1]['state']['branches.image.head.queue'], second[-1]['state']['branches.image.head.queue'])


@pytest.mark.parametrize('kind', ['mlp', 'hcl'])
def test_the_logits_are_those_of_mmpretrains_moco(kind):
    model = ours(kind)
    stock = theirs(kind, model.state_dict())
    seen = {}

    class Seen(InfoNCELoss):  # a class of its own is handed the similarities
        def forward(self, *args):
            return seen.update(ours=args) or super().forward(*args)

    model.branches.image.head.loss_module = Seen(TEMPERATURE)
    keep = stock.head.loss
    stock.head.loss = lambda pos, neg: (seen.update(theirs=(pos.clone(), neg.clone())), keep(pos, neg))[1]
    views = list(batches_of(kind)[0].float())
    model.loss(views)
    stock.loss(views, None)
    scale = 1 if kind == 'mlp' else 2
    assert torch.allclose(seen['ours'][0], seen['theirs'][0][:, 0] * scale, atol=1e-5)
    assert torch.allclose(seen['ours'][1], seen['theirs'][1] * scale, atol=1e-5)


def history_without_batch_norm(kind: str, wrap: bool) -> list[dict]:
    torch.manual_seed(1)
    model = ours(kind, norm_cfg=dict(type='GN', num_groups=2)).double()  # fp32 sums depend on the size of a batch
    return fit(model, batches_of(kind), wrap)


@pytest.mark.parametrize('kind', ['mlp', 'hcl'])
def test_two_processes_with_half_the_batch_equal_one_apart_from_batch_norm(kind, tmp_path):
    alone = history_without_batch_norm(kind, wrap=False)
    first, second = in_processes(history_without_batch_norm, tmp_path, kind, True)
    for expected, a, b in zip(alone, first, second, strict=True):
        assert (a['loss'] + b['loss']) / 2 == pytest.approx(expected['loss'], abs=1e-5)
        for key, gradient in expected['gradients'].items():
            for mine in (a['gradients'][key], b['gradients'][key]):
                assert close(mine, gradient), key
        for key, value in expected['state'].items():
            assert close(a['state'][key], value) and close(b['state'][key], value), key


def test_normalising_hcls_embedding_again_halves_its_dot_products():
    model = ours('hcl')
    images = batches_of('hcl')[0][0].float()
    z = model.encode(images)['image']
    assert z.shape == (BATCH, 324)
    assert torch.allclose(z @ z.t(), 2 * normalize(z) @ normalize(z).t(), atol=1e-5)
