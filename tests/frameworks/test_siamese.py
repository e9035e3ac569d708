"""Siamese: which views are compared, at which weight, and who gets a gradient."""

import pytest
import torch
from mmengine.model import PretrainedInit
from torch import nn
from toys import ToyBackbone, mlp_branch, total, toy_resnet, toy_siamese, toy_views

from viewplug.frameworks import Siamese

BOTH = dict(online_views=(0, 1), target_views=(0, 1))


class RecordingHead(nn.Module):
    """Loss = o . t of the pair, and a record of who was compared."""

    def __init__(self) -> None:
        super().__init__()
        self.calls, self.updates = [], []

    def loss(self, online, target, geometry=None, pair=None, **extras):
        self.calls.append(dict(online=online, target=target, geometry=geometry, pair=pair, extras=extras))
        return dict(loss=(online * target).sum(dim=1).mean(), cosine=(online * target).sum(dim=1).mean().detach())

    def update(self, targets):
        self.updates.append(targets)


def recording(target='StopGradTarget', **changes) -> tuple[Siamese, RecordingHead]:
    branch_keys = {key: changes.pop(key) for key in ('weight', 'pairs') if key in changes}
    branch = dict(neck=dict(type='MLPNeck', out_channels=16), head=RecordingHead(), **branch_keys)
    model = toy_siamese(branches=dict(image=branch), target=dict(type=target), **changes)
    return model, model.branches.image.head


@pytest.mark.parametrize(
    ('pairs', 'expected'),
    [
        ('cross', {(0, 1), (1, 0), (2, 0), (2, 1)}),
        ('same', {(0, 0), (1, 1)}),
        ('all', {(0, 0), (1, 0), (2, 0), (0, 1), (1, 1), (2, 1)}),
    ],
)
def test_pairs_name_the_views_that_are_compared(pairs, expected):
    online_views = tuple(sorted({o for o, _ in expected}))
    model, head = recording(pairs=pairs, online_views=online_views, target_views=(0, 1))
    views = toy_views(views=3)
    model.loss(views)
    assert {call['pair'] for call in head.calls} == expected and len(head.calls) == len(expected)
    for call in head.calls:
        o, t = call['pair']
        assert torch.equal(call['online'], model.encode(views[o])['image'])
        assert torch.equal(call['target'], model.encode(views[t])['image'])


def test_moco_compares_view_0_with_view_1_unless_told_otherwise():
    model, head = recording()
    model.loss(toy_views())
    assert [call['pair'] for call in head.calls] == [(0, 1)]


def test_the_symmetric_loss_is_the_mean_of_both_directions():
    views = toy_views()
    torch.manual_seed(3)
    both = toy_siamese(**BOTH)
    queue = both.branches.image.head.queue.clone()
    there_and_back = []
    for inputs in (views, views[::-1]):
        torch.manual_seed(3)
        one_way = toy_siamese()
        assert torch.equal(one_way.branches.image.head.queue, queue)
        there_and_back.append(total(one_way.loss(inputs)))
    assert total(both.loss(views)).item() == pytest.approx((sum(there_and_back) / 2).item(), abs=1e-6)
    assert there_and_back[0].item() != pytest.approx(there_and_back[1].item(), abs=1e-4)


def test_the_weight_multiplies_losses_and_nothing_else():
    views = toy_views()
    heavy, _ = recording(weight=2.5)
    light, _ = recording()
    light.load_state_dict(heavy.state_dict())
    heavy_losses, light_losses = heavy.loss(views), light.loss(views)
    assert heavy_losses['image.loss'].item() == pytest.approx(2.5 * light_losses['image.loss'].item())
    assert heavy_losses['image.cosine'].item() == pytest.approx(light_losses['image.cosine'].item())


def test_branches_read_the_same_features_and_their_losses_add_up():
    model = toy_siamese(branches=dict(a=mlp_branch(), b=mlp_branch(dim=8, weight=0.5)))
    calls = []
    model.backbone.register_forward_hook(lambda *_: calls.append(1))
    losses = model.loss(toy_views())
    assert set(losses) == {'a.loss', 'b.loss'} and len(calls) == 1
    parsed, logged = model.parse_losses(losses)
    assert parsed.item() == pytest.approx((losses['a.loss'] + losses['b.loss']).item())
    assert {'a.loss', 'b.loss', 'loss'} <= set(logged)


def test_extras_and_geometry_reach_the_heads():
    from mmpretrain.structures import DataSample

    model, head = recording()
    samples = [DataSample(metainfo=dict(crop_box=[[0, 0, 1, 1], [0, 0, 0.5, 0.5]], flip=[True, False]))] * 8
    model(toy_views(), samples, mode='loss', queries='the queries')
    assert head.calls[0]['extras'] == dict(queries='the queries')
    assert head.calls[0]['geometry'].iou(0, 1).tolist() == pytest.approx([0.25] * 8)
    model.loss(toy_views(), None)
    assert head.calls[1]['geometry'] is None


def test_a_shared_target_learns_and_a_stopped_one_does_not():
    gradients = {}
    for kind in ('SharedTarget', 'StopGradTarget'):
        torch.manual_seed(3)
        model, head = recording(target=kind)
        views = [view.requires_grad_() for view in toy_views()]
        total(model.loss(views)).backward()
        assert views[0].grad.abs().sum() > 0
        gradients[kind] = views[1].grad
        assert head.calls[0]['target'].requires_grad == (kind == 'SharedTarget')
    assert gradients['StopGradTarget'] is None
    assert gradients['SharedTarget'].abs().sum() > 0


@pytest.mark.parametrize('kind', ['SharedTarget', 'StopGradTarget'])
def test_a_view_that_both_sides_see_is_encoded_once(kind):
    model, head = recording(target=kind, **BOTH)
    calls = []
    model.backbone.register_forward_hook(lambda *_: calls.append(1))
    views = toy_views()
    total(model.loss(views)).backward()
    assert len(calls) == 2
    a, b = (model.encode(view)['image'] for view in views)
    if kind == 'StopGradTarget':
        expected = ((a * b.detach()).sum(1).mean() + (b * a.detach()).sum(1).mean()) / 2
    else:
        expected = (a * b).sum(1).mean()
    weight = model.backbone.layers[0].weight
    assert torch.allclose(torch.autograd.grad(expected, weight)[0], weight.grad, atol=1e-6)


def test_heads_are_updated_once_a_step_with_every_target_view():
    model, head = recording(**BOTH)
    model.loss(toy_views())
    assert len(head.updates) == 1
    for target, view in zip(head.updates[0], (0, 1), strict=True):
        assert torch.equal(target, model.latest['image']['target'][view])


def test_latest_holds_the_embeddings_of_the_last_forward_detached():
    model = toy_siamese()
    views = toy_views()
    model.loss(views)
    latest = model.latest['image']
    assert set(latest['online']) == {0} and set(latest['target']) == {1}
    assert torch.equal(latest['online'][0], model.encode(views[0])['image'].detach())
    assert not latest['online'][0].requires_grad and not latest['target'][1].requires_grad


def test_mode_tensor_gives_the_backbones_features():
    model = toy_siamese()
    images = toy_views()[0]
    assert torch.equal(model(images)[0], model.backbone(images)[0])
    with pytest.raises(ValueError, match="mode must be 'loss' or 'tensor', got 'predict'"):
        model(images, mode='predict')


def test_a_bf16_autocast_step_trains_and_the_queue_stays_float32():
    model = toy_siamese(backbone=toy_resnet())
    optimiser = torch.optim.SGD(model.parameters(), lr=0.03)
    before = model.backbone.conv1.weight.detach().clone()
    for _ in range(2):
        with torch.autocast('cpu', dtype=torch.bfloat16):
            loss = total(model.loss(toy_views(4, 32)))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    state = model.state_dict()
    assert loss.dtype == torch.float32 and torch.isfinite(loss)
    assert state['branches.image.head.queue'].dtype == torch.float32 and state['branches.image.head.pointer'] == 8
    assert not torch.equal(model.backbone.conv1.weight, before)


def test_the_loss_falls_when_images_are_told_apart_by_their_colour():
    model = toy_siamese(branches=dict(image=mlp_branch(queue_len=64)))
    optimiser = torch.optim.SGD(model.parameters(), lr=0.1)
    losses = []
    for _ in range(200):
        colours = torch.randn(16, 3, 1, 1)
        loss = total(model.loss([colours + 0.1 * torch.randn(16, 3, 16, 16) for _ in range(2)]))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    # The first four batches are compared with the random queue still.
    assert sum(losses[-20:]) / 20 < sum(losses[4:24]) / 20 - 0.5


def test_one_runner_step_takes_uint8_views_in_dict_form():
    from mmengine.optim import OptimWrapper

    model = toy_siamese(data_preprocessor=dict(mean=[127.5] * 3, std=[127.5] * 3))
    wrapper = OptimWrapper(torch.optim.SGD(model.parameters(), lr=0.1))
    views = [torch.randint(0, 256, (4, 3, 16, 16), dtype=torch.uint8) for _ in range(2)]
    logged = model.train_step(dict(inputs=views, data_samples=None), wrapper)
    assert torch.isfinite(logged['loss'])


@pytest.mark.parametrize('extra', [dict(necks=1), dict(pair='same')])
def test_unknown_keys_of_a_branch_are_refused_by_name(extra):
    (key,) = extra
    with pytest.raises(ValueError, match=f'model.branches.image takes the keys neck, head, weight and pairs.*{key}'):
        toy_siamese(branches=dict(image=mlp_branch(**extra)))


def test_a_branch_without_a_head_is_refused():
    with pytest.raises(ValueError, match='model.branches.image takes the keys neck, head'):
        toy_siamese(branches=dict(image=dict(neck=dict(type='MLPNeck'))))


def test_unknown_pairs_are_refused_by_name():
    with pytest.raises(ValueError, match="model.branches.image.pairs must be one of cross, same, all, got 'other'"):
        toy_siamese(branches=dict(image=mlp_branch(pairs='other')))


def test_pairs_that_no_views_make_are_refused():
    with pytest.raises(
        ValueError, match=r"image: no pair of views.*pairs='same', online_views=\(0,\), target_views=\(1,\)"
    ):
        toy_siamese(branches=dict(image=mlp_branch(pairs='same')))


def test_a_feat_dim_that_is_not_the_necks_is_refused_when_the_model_is_built():
    branch = mlp_branch(dim=16)
    branch['head']['feat_dim'] = 128
    with pytest.raises(
        ValueError, match=r'model.branches.image.head.feat_dim=128.*MLPNeck.*length 16; set feat_dim=16'
    ):
        Siamese(backbone=ToyBackbone(), branches=dict(image=branch), target=dict(type='SharedTarget'))


def test_a_feat_dim_left_out_is_read_off_the_neck():
    branch = mlp_branch(dim=24)
    del branch['head']['feat_dim']
    assert toy_siamese(branches=dict(image=branch)).branches.image.head.queue.shape == (32, 24)


@pytest.mark.parametrize(
    ('inputs', 'got'), [(lambda: toy_views()[:1], '1 views'), (lambda: toy_views()[0], 'one tensor')]
)
def test_too_few_views_are_refused_and_the_pipeline_is_named(inputs, got):
    with pytest.raises(ValueError, match=f'at least 2 views.*got {got}.*MultiView.*default_collate'):
        toy_siamese().loss(inputs())


def test_a_loss_in_evaluation_mode_moves_neither_target_nor_queue():
    model = toy_siamese().eval()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    with torch.no_grad():
        model([torch.randn(4, 3, 32, 32) for _ in range(2)], mode='loss')
    assert all(torch.equal(before[key], value) for key, value in model.state_dict().items())


@pytest.mark.parametrize('kind', ['Pretrained', PretrainedInit], ids=['name', 'class'])
def test_a_model_initialised_from_a_checkpoint_keeps_the_target_in_it(kind, tmp_path):
    first = toy_siamese(target=dict(type='MomentumTarget'))
    with torch.no_grad():
        for parameter in first.target.parameters():
            parameter.add_(1)
    torch.save(dict(state_dict=first.state_dict()), tmp_path / 'first.pth')
    checkpoint = dict(type=kind, checkpoint=str(tmp_path / 'first.pth'))
    second = toy_siamese(target=dict(type='MomentumTarget'), init_cfg=checkpoint)
    for key, value in first.state_dict().items():
        assert torch.equal(second.state_dict()[key], value), key


@pytest.mark.parametrize('name', ['lossy', 'closs', 'loss'])
def test_a_branch_whose_name_would_be_added_to_the_total_loss_is_refused(name):
    with pytest.raises(ValueError, match=f"model.branches.{name}: give the branch a name without 'loss'"):
        toy_siamese(branches={'image': mlp_branch(), name: mlp_branch()})


@pytest.mark.parametrize('name', ['keys', 'a.b', 'training', ''])
def test_a_branch_name_that_torch_cannot_take_is_refused(name):
    with pytest.raises(ValueError, match=f'model.branches.{name}: give the branch another name'):
        toy_siamese(branches={name: mlp_branch()})


def test_a_misspelt_branch_is_told_the_branches_there_are():
    branches = dict(image=mlp_branch(), region=mlp_branch(), imag=dict(head=dict(queue_len=64)))
    with pytest.raises(
        ValueError, match=r'model\.branches\.imag\.head needs a type.*QueueHead.*: image, region, imag\)'
    ):
        toy_siamese(branches=branches)


def test_a_neck_without_a_type_is_named():
    with pytest.raises(ValueError, match=r'model\.branches\.image\.neck needs a type'):
        toy_siamese(branches=dict(image=dict(neck=dict(out_channels=4), head=mlp_branch()['head'])))
