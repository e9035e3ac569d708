"""Necks, heads, losses and backbones of somebody's own in the branches of viewplug.Siamese."""

import pytest
import torch
from mmengine import Config
from mmengine.registry import DefaultScope
from mmpretrain.structures import DataSample
from torch import nn
from toys import ToyBackbone, toy_siamese, toy_views

from viewplug.heads import CPCHead, QueueHead, RegionHead
from viewplug.losses import CosineLoss, InfoNCELoss
from viewplug.necks import HCLNeck, MLPNeck
from viewplug.registry import MODELS
from viewplug.run.demo import to_demo


class Margin(InfoNCELoss):
    def forward(self, positive, negatives):
        return super().forward(positive - 0.5, negatives)


class LooseCosine(CosineLoss):
    def forward(self, prediction, target):
        return super().forward(prediction, target) ** 2


@MODELS.register_module()
class OwnMLP(MLPNeck):
    """Hands on what it does not know."""

    def __init__(self, dropout: float = 0.0, **kwargs) -> None:
        super().__init__(**kwargs)
        self.dropout = dropout


@MODELS.register_module()
class OwnQueue(QueueHead):
    pass


class TwoEntries(ToyBackbone):
    """A mapping whose entries differ in width, none of them ``cls``."""

    def forward(self, images):
        (found,) = super().forward(images)
        return dict(whole=found.mean((2, 3)), dense=torch.cat([found, found], dim=1).flatten(2).transpose(1, 2))


class OneMap(ToyBackbone):
    def forward(self, images):
        return super().forward(images)[0]


class Head(nn.Module):
    def __init__(self, **found) -> None:
        super().__init__()
        self.found = found

    def loss(self, online, target, geometry=None, **extras):
        return {key: value(online) for key, value in self.found.items()}


class Warm(InfoNCELoss):
    """Another default, the same loss."""

    def __init__(self, temperature: float = 0.7) -> None:
        super().__init__(temperature)


class NamesAll(nn.Module):
    """Every argument by name."""

    def loss(self, online, target, geometry=None, pair=None, sample_idx=None):
        return dict(loss=online.mean(), first=sample_idx[0])


class TakesAll(nn.Module):
    def loss(self, online, target, geometry=None, **extras):
        return dict(loss=online.mean(), first=extras['sample_idx'][0], heat=extras['heat'].sum())


class Required(nn.Module):
    """Nobody's subclass."""

    def __init__(self, in_channels: int, in_strides, stage: int = -1) -> None:
        super().__init__()
        self.found = in_channels, in_strides
        self.out_channels = 5
        self.fc = nn.Linear(in_channels, 5)

    def forward(self, features):
        return self.fc(features[-1].mean((2, 3)))


class LongHead(nn.Module):
    def __init__(self, feat_dim, temperature=0.1) -> None:
        super().__init__()
        self.feat_dim = feat_dim

    def loss(self, online, target, geometry=None, **extras):
        return dict(loss=(online - target).square().mean())


class OwnHead(LongHead):
    def __init__(self, feat_dim=128) -> None:
        super().__init__(feat_dim)


class Gives(nn.Module):
    """What a neck must not."""

    def __init__(self, output) -> None:
        super().__init__()
        self.output = output

    def forward(self, features):
        return self.output(features[-1].mean((2, 3)))


class WithoutExtras(nn.Module):
    def loss(self, online, target):
        return dict(loss=online.sum())


def model_with(head, neck=None, backbone=None, **keys):
    branch = dict(neck=neck or dict(type='viewplug.MLPNeck', out_channels=4), head=head, **keys)
    return toy_siamese(backbone=backbone, branches=dict(image=branch))


@pytest.mark.parametrize('scoped', ['viewplug.', ''])
@pytest.mark.parametrize('scope', [None, 'mmpretrain'])
def test_a_class_derived_from_one_of_ours_is_told_what_it_leaves_out(scoped, scope):
    head = dict(type=f'{scoped}OwnQueue', queue_len=8, loss=dict(type='viewplug.InfoNCELoss'))
    neck = dict(type=f'{scoped}OwnMLP', dropout=0.5, out_channels=4)
    with DefaultScope.overwrite_default_scope(scope):
        branch = model_with(head, neck).branches.image
    assert branch.neck.mlp[0].in_features == 8 and branch.neck.dropout == 0.5 and branch.head.feat_dim == 4


@pytest.mark.parametrize('loss', [Margin(), LooseCosine()])
def test_a_derived_loss_whose_forward_would_not_be_called_is_refused(loss):
    with pytest.raises(ValueError, match=f'RegionHead: loss must be .* itself, .* got {type(loss).__name__}'):
        RegionHead(loss=loss)
    with pytest.raises(ValueError, match=f'CPCHead: loss must be .* itself, .* got {type(loss).__name__}'):
        CPCHead(8, loss=loss)


def test_a_derived_loss_that_has_another_default_only_is_taken():
    assert RegionHead(loss=Warm()).loss_module.temperature == CPCHead(8, loss=Warm()).loss_module.temperature == 0.7


@pytest.mark.parametrize('head', [NamesAll, TakesAll])
def test_a_head_is_given_what_the_batch_has_or_what_it_names_of_it(head):
    samples = [DataSample(metainfo=dict(sample_idx=number)) for number in range(3, 11)]
    found = model_with(head()).loss(toy_views(), samples, heat=torch.ones(8, 2))
    assert found['image.first'] == 3 and found.get('image.heat', 16) == 16


def test_what_a_part_of_ones_own_cannot_do_without_is_filled_in():
    MODELS.register_module(module=Required, force=True)
    MODELS.register_module(module=LongHead, force=True)
    branch = model_with(dict(type='LongHead'), dict(type='Required')).branches.image
    assert branch.neck.found == (8, (8,)) and branch.head.feat_dim == 5


def test_the_demo_takes_from_own_parts_only_what_is_filled_in_anew():
    MODELS.register_module(module=Required, force=True)
    MODELS.register_module(module=OwnHead, force=True)
    cfg = Config.fromfile('configs/cifar10/mocov2_r18.py')
    cfg.model.branches.image.neck = dict(type='Required', in_channels=512, hidden_channels=7)
    cfg.model.branches.image.head = dict(type='OwnHead', feat_dim=7)
    branch = to_demo(cfg).model.branches.image
    assert branch.neck == dict(type='Required', hidden_channels=7)
    assert branch.head == dict(type='OwnHead', feat_dim=7)


def test_the_demo_needs_no_default_hooks():
    cfg = Config.fromfile('configs/cifar10/mocov2_r18.py')
    cfg.default_hooks = dict(checkpoint=None)
    assert to_demo(cfg).default_hooks == dict(checkpoint=None, logger=dict(type='LoggerHook', interval=10))
    cfg.default_hooks = None
    without = to_demo(cfg)
    cfg.pop('default_hooks')
    for made in (without, to_demo(cfg)):
        assert made.default_hooks.checkpoint == dict(type='CheckpointHook', interval=5)


@pytest.mark.parametrize(
    ('output', 'got'),
    [(lambda z: (z, z), '2 outputs'), (lambda z: dict(z=z), 'a dict')],
    ids=['pair', 'dict'],
)
@pytest.mark.parametrize('joint_views', [False, True])
def test_a_neck_that_gives_no_single_tensor_is_refused(output, got, joint_views):
    branch = dict(neck=Gives(output), head=Head(loss=torch.mean))
    views = dict(online_views=(0, 1), target_views=(0, 1), joint_views=joint_views)
    with pytest.raises(ValueError, match=rf'branches\.image\.neck: Gives must give one tensor .*, got {got}; join'):
        toy_siamese(branches=dict(image=branch), **views).loss(toy_views())


@pytest.mark.parametrize('odd', [(0, 1), (1, 0)], ids=['second', 'first'])
def test_a_loss_that_only_some_pairs_of_views_have_is_refused(odd):
    class Moody(nn.Module):
        def loss(self, online, target, geometry=None, pair=None, **extras):
            return dict(loss=online.mean(), **(dict(extra_loss=online.mean()) if pair == odd else {}))

    branch = dict(neck=dict(type='viewplug.MLPNeck', out_channels=4), head=Moody())
    model = toy_siamese(branches=dict(image=branch), online_views=(0, 1), target_views=(0, 1))
    with pytest.raises(ValueError, match='the loss of Moody must return the same keys for every pair of views'):
        model.loss(toy_views())


def test_a_branch_that_only_watches_has_no_loss():
    watch = dict(neck=dict(type='viewplug.MLPNeck', out_channels=4), head=Head(spread=torch.std), weight=0)
    learn = dict(neck=dict(type='viewplug.MLPNeck', out_channels=4), head=Head(loss=torch.mean))
    found = toy_siamese(branches=dict(watch=watch, learn=learn)).loss(toy_views())
    assert {'watch.spread', 'learn.loss'} <= set(found)


def test_a_shared_target_reads_what_the_online_side_encoded_beside_it():
    views = dict(online_views=(0, 1), target_views=(1,), joint_views=True)
    branch = dict(neck=dict(type='viewplug.MLPNeck', out_channels=4), head=Head(loss=torch.mean))
    toy_siamese(branches=dict(image=branch), target=dict(type='SharedTarget'), **views)
    with pytest.raises(ValueError, match='online_views.*no branch of image compares view 1'):
        toy_siamese(branches=dict(image=branch), target=dict(type='MomentumTarget'), **views)


@pytest.mark.parametrize(
    ('head', 'said'),
    [
        (nn.Identity(), r'Identity needs a method loss\(self, online, target, geometry=None, \*\*extras\)'),
        (WithoutExtras(), r"WithoutExtras needs a method loss\(.*unexpected keyword argument 'geometry'"),
    ],
)
def test_a_head_that_cannot_be_called_is_refused_when_the_model_is_built(head, said):
    with pytest.raises(ValueError, match=rf'model\.branches\.image\.head: {said}'):
        model_with(head)


@pytest.mark.parametrize(
    ('found', 'got'),
    [
        (dict(mse=torch.mean), "{'mse': 'Tensor'}"),
        (dict(loss=torch.mean, accuracy=lambda online: 1.0), "{'loss': 'Tensor', 'accuracy': 'float'}"),
    ],
    ids=['nothing to add up', 'a number'],
)
def test_losses_that_would_not_count_are_refused(found, got):
    with pytest.raises(ValueError, match=rf'image\.head: the loss of Head must return a dict of tensors, .* got {got}'):
        model_with(Head(**found)).loss(toy_views())


@pytest.mark.parametrize(('entry', 'width'), [('whole', 8), ('dense', 16)])
def test_a_neck_is_told_the_width_of_the_entry_that_its_branch_reads(entry, width):
    model = model_with(Head(loss=torch.mean), backbone=TwoEntries(), reads=entry)
    assert model.branches.image.neck.mlp[0].in_features == width
    model.loss(toy_views())


def test_an_entry_that_the_backbone_does_not_give_is_refused():
    with pytest.raises(ValueError, match="TwoEntries gives whole, dense, and 'cls' is asked for; .* branch's reads"):
        model_with(Head(loss=torch.mean), backbone=TwoEntries())


@pytest.mark.parametrize('batch', [1, 3])
def test_a_backbone_that_gives_one_map_and_no_list_of_them_has_it_read(batch):
    neck = HCLNeck(in_channels=(8,), in_strides=(8,), semantic_channels=4, input_size=16, map_stride=8)
    model = model_with(Head(loss=torch.mean), neck, OneMap())
    images = toy_views(batch)[0]
    alone = neck((model.backbone(images),))[0]
    assert alone.shape == (batch, 8) and torch.equal(model.encode(images)['image'], alone)
