"""Targets: who the online embeddings are compared with, and where a momentum target comes from."""

import math

import pytest
import torch
from mmengine.dist import get_rank
from mmengine.logging import MessageHub
from mmengine.runner.checkpoint import load_state_dict
from processes import in_processes
from torch import nn
from torch.distributed.fsdp import FullyShardedDataParallel
from toys import ToyBackbone, mlp_branch, total, toy_resnet, toy_siamese, toy_views

from viewplug.targets import MomentumTarget


def pairs(model, buffers: bool = True) -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
    """Key in the target -> its value there and in the online network."""
    target, online = model.target.state_dict(), model.backbone.state_dict(prefix='backbone.')
    for name, branch in model.branches.items():
        online.update(branch.neck.state_dict(prefix=f'necks.{name}.'))
    assert set(target) == set(online) | {'steps'}
    parameters = {key for key, _ in model.target.named_parameters()}
    return {key: (target[key], value) for key, value in online.items() if buffers or key in parameters}


def equal_to_online(model) -> bool:
    """Apart from batch norm's step counters, which torch leaves alone if a checkpoint without versions lacks them."""
    found = {key: pair for key, pair in pairs(model).items() if not key.endswith('num_batches_tracked')}
    return all(torch.equal(mine, theirs) for mine, theirs in found.values())


def drift(model) -> None:
    """Make online and target differ everywhere."""
    with torch.no_grad():
        for mine, theirs in pairs(model).values():
            for value in (mine, theirs):
                value.copy_(torch.randn(value.shape) if value.is_floating_point() else torch.randint(9, value.shape))
    assert not equal_to_online(model)


def test_the_target_equals_online_after_the_weights_are_initialised():
    model = toy_siamese(backbone=toy_resnet())
    assert len(pairs(model)) > 100
    assert equal_to_online(model)
    assert not any(parameter.requires_grad for parameter in model.target.parameters())


def test_the_target_is_the_moving_average_of_a_plain_loop():
    model = toy_siamese(backbone=toy_resnet(), target=dict(type='MomentumTarget', momentum=0.9))
    optimiser = torch.optim.SGD(model.parameters(), lr=0.5)
    expected = {key: theirs.clone() for key, (_, theirs) in pairs(model, buffers=False).items()}
    for _ in range(4):
        for key, (_, theirs) in pairs(model, buffers=False).items():
            expected[key] = 0.9 * expected[key] + 0.1 * theirs
        loss = total(model.loss(toy_views(4, 32)))
        assert all(torch.allclose(mine, expected[key], atol=1e-6) for key, (mine, _) in pairs(model, False).items())
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert not torch.allclose(*pairs(model)['backbone.conv1.weight'], atol=1e-3)
    assert model.target.steps == 4


def test_keys_carry_no_gradient():
    model = toy_siamese()
    views = [view.requires_grad_() for view in toy_views()]
    total(model.loss(views)).backward()
    assert views[1].grad is None and views[0].grad is not None


def test_the_momentum_rises_along_half_a_cosine():
    target = MomentumTarget(momentum=0.996, end_momentum=1.0, total_steps=100)
    for step in (0, 1, 25, 50, 99, 100):
        expected = 1 - (1 - 0.996) * (math.cos(math.pi * step / 100) + 1) / 2
        assert target.momentum_at(step) == pytest.approx(expected, abs=1e-12)
    assert target.momentum_at(0) == pytest.approx(0.996) and target.momentum_at(50) == pytest.approx(0.998)
    assert target.momentum_at(100) == target.momentum_at(150) == 1.0
    assert MomentumTarget(momentum=0.99).momentum_at(77) == 0.99


def test_the_length_of_the_schedule_comes_from_the_runner():
    target = MomentumTarget(momentum=0.5, end_momentum=1.0)
    MessageHub.get_instance('test_targets').update_info('max_iters', 10)
    assert target.momentum_at(5) == pytest.approx(0.75)


@pytest.mark.parametrize('counts', [1, 2])
def test_the_target_follows_each_step_of_the_optimiser_with_that_steps_momentum(counts):
    """BYOL, sec. 3.2: step k moves online, then the target with tau of k, of K steps of ``counts`` forwards each."""
    target = dict(type='MomentumTarget', momentum=0.2, end_momentum=1.0, total_steps=6 * counts, update_interval=counts)
    model = toy_siamese(target=target)
    optimiser = torch.optim.SGD(model.parameters(), lr=0.5)
    expected = {key: theirs.clone() for key, (_, theirs) in pairs(model).items()}
    for k in range(6):
        for _ in range(counts):
            total(model.loss(toy_views())).backward()
            for key, (mine, _) in pairs(model).items():
                torch.testing.assert_close(mine, expected[key], rtol=1e-5, atol=1e-6)
        optimiser.step()
        optimiser.zero_grad()
        tau = 1 - (1 - 0.2) * (math.cos(math.pi * k / 6) + 1) / 2
        expected = {key: tau * expected[key] + (1 - tau) * theirs for key, (_, theirs) in pairs(model).items()}


def test_with_an_update_interval_the_target_moves_every_so_many_forwards():
    model = toy_siamese(target=dict(type='MomentumTarget', momentum=0.5, update_interval=3))
    moved = []
    for _ in range(7):
        drift(model)
        before = model.target.backbone.layers[0].weight.clone()
        model.loss(toy_views())
        moved.append(not torch.equal(before, model.target.backbone.layers[0].weight))
    assert moved == [True, False, False, True, False, False, True]


class Wrapper(nn.Module):
    """As DDP: the model under the name ``module``."""

    def __init__(self, module) -> None:
        super().__init__()
        self.module = module


def with_prefix(state: dict, prefix: str) -> dict:
    return {prefix + key: value for key, value in state.items()}


LOADS = {
    'torch': lambda model, state: model.load_state_dict(state, strict=False),
    'mmengine': lambda model, state: load_state_dict(model, state),
    'wrapped': lambda model, state: Wrapper(model).load_state_dict(with_prefix(state, 'module.'), strict=False),
}


@pytest.mark.parametrize('load', LOADS)
def test_a_checkpoint_without_a_target_starts_it_from_the_online_weights_just_loaded(load):
    source, model = toy_siamese(backbone=toy_resnet()), toy_siamese(backbone=toy_resnet())
    drift(source)
    drift(model)
    state = {key: value for key, value in source.state_dict().items() if not key.startswith('target.')}
    LOADS[load](model, state)
    assert equal_to_online(model)
    assert torch.equal(model.target.backbone.conv1.weight, source.backbone.conv1.weight)


@pytest.mark.parametrize('load', LOADS)
def test_a_checkpoint_that_lacks_one_targets_neck_keeps_the_rest_of_its_target(load):
    branches = dict(a=mlp_branch(), b=mlp_branch())
    source, model = toy_siamese(branches=branches), toy_siamese(branches=branches)
    drift(source)
    drift(model)
    saved = source.state_dict()
    LOADS[load](model, {key: value for key, value in saved.items() if not key.startswith('target.necks.b.')})
    for key, (mine, theirs) in pairs(model).items():
        assert torch.equal(mine, theirs if key.startswith('necks.b.') else saved[f'target.{key}'])


@pytest.mark.parametrize('load', LOADS)
def test_a_whole_checkpoint_is_loaded_as_it_is(load):
    source, model = toy_siamese(), toy_siamese()
    drift(source)
    LOADS[load](model, source.state_dict())
    assert all(torch.equal(value, source.state_dict()[key]) for key, value in model.state_dict().items())
    assert not equal_to_online(model)


def test_a_branch_named_target_is_not_taken_for_the_target():
    source, model = toy_siamese(branches=dict(target=mlp_branch())), toy_siamese(branches=dict(target=mlp_branch()))
    drift(source)
    saved = source.state_dict()
    state = {key: value for key, value in saved.items() if not key.startswith('branches.target.neck.')}
    model.load_state_dict(state, strict=False)
    for key, (mine, _) in pairs(model).items():
        assert torch.equal(mine, saved[f'target.{key}'])


def test_the_targets_batch_statistics_are_those_of_the_views_it_saw():
    model = toy_siamese(backbone=ToyBackbone(batch_norm=True))
    views = toy_views()
    views[1] += 5
    with torch.no_grad():
        seen = {
            'online': model.backbone.layers[0](views[0]).mean(dim=(0, 2, 3)),
            'target': model.target.backbone.layers[0](views[1]).mean(dim=(0, 2, 3)),
        }
    model.loss(views)
    for name, backbone in (('online', model.backbone), ('target', model.target.backbone)):
        assert torch.allclose(backbone.layers[1].running_mean, 0.1 * seen[name], atol=1e-5)
    assert not torch.allclose(seen['online'], seen['target'], atol=0.1)


@pytest.mark.parametrize(('name', 'value'), [('momentum', 1.1), ('momentum', -0.1), ('end_momentum', 2)])
def test_a_momentum_outside_of_0_to_1_is_refused_by_name(name, value):
    with pytest.raises(ValueError, match=rf'{name} must lie in \[0, 1\], got {value}'):
        MomentumTarget(**{name: value})


def test_a_schedule_of_unknown_length_is_refused(monkeypatch):
    monkeypatch.setattr(MessageHub, 'get_current_instance', lambda: MessageHub.get_instance('test_targets_empty'))
    with pytest.raises(ValueError, match='end_momentum without a Runner needs total_steps'):
        MomentumTarget(end_momentum=1.0).momentum_at(3)


SHUFFLE_SEED = 3


def keys_on_a_rank(images, batch_norm: bool, shuffle: bool):
    torch.manual_seed(1)
    model = toy_siamese(
        backbone=ToyBackbone(batch_norm=batch_norm), target=dict(type='MomentumTarget', shuffle_bn=shuffle)
    )
    torch.manual_seed(SHUFFLE_SEED + get_rank())  # ranks draw different permutations; rank 0's must hold
    mine = images.chunk(2)[get_rank()]
    keys = model.target.embeddings(model, [mine], [0], {})[0]['image']
    statistics = model.target.backbone.layers[1].running_mean.clone() if batch_norm else None
    model.eval()
    return keys, statistics, model.target.embeddings(model, [mine], [0], {})[0]['image']


def test_shuffled_keys_come_back_to_the_processes_of_their_images(tmp_path):
    torch.manual_seed(SHUFFLE_SEED)
    order = torch.randperm(12)
    assert not torch.equal(order, torch.argsort(order))  # else going and coming back were the same
    images = torch.randn(12, 3, 16, 16)
    torch.manual_seed(1)
    expected = toy_siamese().encode(images)['image'].chunk(2)
    for rank, (keys, _, in_eval) in enumerate(in_processes(keys_on_a_rank, tmp_path, images, False, True)):
        assert torch.allclose(keys, expected[rank], atol=1e-6)
        assert torch.allclose(in_eval, expected[rank], atol=1e-6)


def test_shuffling_computes_batch_statistics_over_images_of_all_processes(tmp_path):
    images = torch.randn(12, 3, 16, 16)
    images[6:] += 10
    torch.manual_seed(1)
    convolution = toy_siamese(backbone=ToyBackbone(batch_norm=True)).backbone.layers[0]
    torch.manual_seed(SHUFFLE_SEED)
    shares = torch.randperm(12).view(2, 6)
    assert all(0 < (share >= 6).sum() < 6 for share in shares)
    for rank, (_, mean, _) in enumerate(in_processes(keys_on_a_rank, tmp_path, images, True, True)):
        with torch.no_grad():
            mixed, own = (convolution(part).mean((0, 2, 3)) for part in (images[shares[rank]], images.chunk(2)[rank]))
        assert torch.allclose(mean, 0.1 * mixed, atol=1e-5)
        assert not torch.allclose(mean, 0.1 * own, atol=1e-2)


def eman_model(**changes):
    backbone = ToyBackbone(batch_norm=True)
    return toy_siamese(
        backbone=backbone, target=dict(type='MomentumTarget', momentum=0.9, eman=True, **changes)
    ).train()


def test_with_eman_parameters_and_statistics_are_moving_averages_of_the_online_ones():
    model = eman_model()
    expected = {key: value.clone() for key, value in model.target.state_dict().items()}
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.5)
    for _ in range(3):
        for key, value in model.backbone.state_dict().items():
            key = f'backbone.{key}'
            if value.is_floating_point():
                expected[key] = 0.9 * expected[key] + 0.1 * value
        loss = total(model(toy_views(), mode='loss'))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    running = [key for key in expected if 'running' in key]
    assert running and not torch.equal(expected[running[0]], torch.zeros_like(expected[running[0]]))
    for key, value in model.target.backbone.state_dict().items():
        if value.is_floating_point():
            torch.testing.assert_close(value, expected[f'backbone.{key}'], rtol=1e-5, atol=1e-6)


def eman_keys_on_a_rank(images):
    """Each rank sees images of other sizes, gradients accumulate over two of six forwards; then one image's key."""
    torch.manual_seed(1)
    model = eman_model(update_interval=2)
    wrapped = nn.parallel.DistributedDataParallel(model, broadcast_buffers=False)
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.1)
    torch.manual_seed(2 + get_rank())
    online = []
    for step in range(6):
        online.append(model.backbone.layers[1].running_mean.clone())
        total(wrapped([view * (1 + get_rank()) for view in toy_views()], mode='loss')).backward()
        if step % 2:
            optimizer.step()
            optimizer.zero_grad()
    key = model.target.embeddings(model, [images], [0], {})[0]['image']
    return key, model.target.backbone.layers[1].running_mean.clone(), online[::2]


def test_with_eman_an_image_has_the_same_key_on_every_process(tmp_path):
    first, second = in_processes(eman_keys_on_a_rank, tmp_path, torch.randn(4, 3, 16, 16))
    assert torch.equal(first[0], second[0])
    expected = torch.zeros(8)
    for mine, theirs in zip(first[2], second[2], strict=True):
        expected = 0.9 * expected + 0.1 * (mine + theirs) / 2
    torch.testing.assert_close(first[1], expected)
    assert expected.abs().max() > 1e-3 and not torch.equal(first[2][1], second[2][1])


@pytest.mark.parametrize('eman', [True, False])
def test_a_key_knows_its_batch_with_batch_statistics_and_not_with_eman(eman):
    torch.manual_seed(0)
    backbone = ToyBackbone(batch_norm=True)
    model = toy_siamese(backbone=backbone, target=dict(type='MomentumTarget', eman=eman)).train()
    image, others, more = torch.randn(1, 3, 16, 16), torch.randn(7, 3, 16, 16), 2 * torch.randn(7, 3, 16, 16)
    first, second = (
        model.target.embeddings(model, [torch.cat([image, rest])], (0,), {})[0]['image'][0] for rest in (others, more)
    )
    assert torch.allclose(first, second, atol=1e-6) == eman


def refused_in_shards():
    model = FullyShardedDataParallel(toy_siamese(), device_id=torch.device('cpu'), use_orig_params=True)
    try:
        model(toy_views(), mode='loss')
    except ValueError as error:
        return str(error)


def test_weights_in_shards_are_refused(tmp_path):
    for said in in_processes(refused_in_shards, tmp_path):
        assert said.startswith('MomentumTarget: the parameters are sharded over processes')


def test_weights_that_are_somewhere_else_are_refused():
    model = toy_siamese()
    model.target.backbone.layers[0].weight.ds_status = 'NOT_AVAILABLE'  # ZeRO 3's mark
    with pytest.raises(ValueError, match='sharded over processes'):
        model(toy_views(), mode='loss')


def test_parameters_without_elements_are_whole():
    backbone = ToyBackbone()
    backbone.register_tokens = nn.Parameter(torch.zeros(1, 0, 4))
    model = toy_siamese(backbone=backbone)
    model(toy_views(), mode='loss')
    assert model.target.backbone.register_tokens.shape == (1, 0, 4)


def test_shuffling_on_one_process_warns_once(monkeypatch):
    model = toy_siamese(
        backbone=ToyBackbone(batch_norm=True), target=dict(type='MomentumTarget', shuffle_bn=True)
    ).train()
    said = []
    monkeypatch.setattr('viewplug.targets.momentum.print_log', lambda text, *args, **kwargs: said.append(text))
    for _ in range(2):
        model(toy_views(), mode='loss')
    assert len(said) == 1 and 'eman=True' in said[0]


def test_eman_and_shuffling_together_are_refused():
    with pytest.raises(ValueError, match='nothing to shuffle'):
        MomentumTarget(shuffle_bn=True, eman=True)


def jointly_encoded(joint_views: bool, views, **target):
    """Embeddings of all views, batch sizes of the target's forwards, and its statistics afterwards."""
    torch.manual_seed(1)
    target = dict(type='MomentumTarget', joint_views=joint_views, **target)
    model = toy_siamese(backbone=ToyBackbone(batch_norm=True), target=target).train()
    model(views, mode='loss')  # so that running statistics are not those of the start
    sizes = []
    model.target.backbone.register_forward_pre_hook(lambda module, args: sizes.append(len(args[0])))
    found = model.target.embeddings(model, views, range(len(views)), {})
    return {view: z['image'] for view, z in found.items()}, sizes, model.target.backbone.layers[1].running_mean.clone()


def test_with_eman_views_of_one_size_share_a_forward_and_their_embeddings_are_those_of_two():
    views = toy_views(6) + toy_views(6, size=24)
    apart, sizes, _ = jointly_encoded(False, views, eman=True)
    joint, joint_sizes, _ = jointly_encoded(True, views, eman=True)
    assert sizes == [6] * 4 and joint_sizes == [12, 12]
    assert list(joint) == list(apart) == [0, 1, 2, 3]
    for view, embedding in apart.items():
        torch.testing.assert_close(joint[view], embedding, rtol=1e-6, atol=1e-6)
    assert not torch.allclose(joint[0], joint[1], atol=1e-2)


def test_without_eman_views_in_one_forward_share_batch_statistics():
    views = toy_views(6)
    views[1] += 5
    apart, _, _ = jointly_encoded(False, views)
    joint, sizes, _ = jointly_encoded(True, views)
    assert sizes == [12]
    assert not torch.allclose(joint[0], apart[0], atol=1e-2)
    torch.manual_seed(1)
    model = toy_siamese(backbone=ToyBackbone(batch_norm=True)).train()
    model(views, mode='loss')
    (expected,) = model.target.necks['image'](model.target.backbone(torch.cat(views)))
    for view, embedding in enumerate(expected.chunk(2)):
        torch.testing.assert_close(joint[view], embedding, rtol=1e-6, atol=1e-6)


def joint_keys_on_a_rank(images, batch_norm: bool):
    torch.manual_seed(1)
    backbone = ToyBackbone(batch_norm=batch_norm)
    model = toy_siamese(backbone=backbone, target=dict(type='MomentumTarget', shuffle_bn=True, joint_views=True))
    torch.manual_seed(SHUFFLE_SEED + get_rank())
    mine = [view.chunk(2)[get_rank()] for view in images]
    keys = model.target.embeddings(model, mine, [0, 1], {})
    statistics = model.target.backbone.layers[1].running_mean.clone() if batch_norm else None
    return [keys[view]['image'] for view in (0, 1)], statistics


@pytest.mark.parametrize('batch_norm', [False, True])
def test_joint_views_are_shuffled_over_processes_together_and_come_back_apart(batch_norm, tmp_path):
    images = torch.randn(2, 12, 3, 16, 16)
    images[1] += 3
    torch.manual_seed(1)
    model = toy_siamese(backbone=ToyBackbone(batch_norm=batch_norm))
    torch.manual_seed(SHUFFLE_SEED)
    shares = torch.randperm(24).view(2, 12)
    gathered = torch.cat([images[:, :6].flatten(0, 1), images[:, 6:].flatten(0, 1)])  # rank by rank, view by view
    for rank, (keys, mean) in enumerate(in_processes(joint_keys_on_a_rank, tmp_path, images, batch_norm)):
        if batch_norm:
            with torch.no_grad():
                expected = model.backbone.layers[0](gathered[shares[rank]]).mean((0, 2, 3))
            torch.testing.assert_close(mean, 0.1 * expected, rtol=1e-5, atol=1e-5)
            continue
        for view, embedding in enumerate(keys):
            expected = model.encode(images[view].chunk(2)[rank])['image']
            torch.testing.assert_close(embedding, expected, rtol=1e-5, atol=1e-6)
