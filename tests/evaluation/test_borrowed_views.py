"""A network tested on another config's views gets the numbers and the channel order that it was trained on."""

from itertools import product
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine import Config
from mmengine.registry import init_default_scope
from PIL import Image

from viewplug.batch_views import to_device_views
from viewplug.config.channel_order import BGR_TO_RGB, order_loaded, order_seen
from viewplug.evaluation.borrowed_views import with_views_of
from viewplug.evaluation.view_pairs import ViewPairs

CONFIGS = Path(__file__).parents[2] / 'configs'
COLOUR = (200, 100, 50)  # R, G, B
PREPROCESSOR = dict(type='viewplug.ViewsDataPreprocessor')
LOAD = dict(type='LoadImageFromFile')
LOADERS = dict(BGR=[LOAD], RGB=[LOAD, *BGR_TO_RGB])


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp('images')
    Image.fromarray(np.full((8, 8, 3), COLOUR, np.uint8)).save(path / 'a.png')
    return path


def config(folder, loads, turns, dataset='viewplug.ImageFolder', in_view=(), **normalisation) -> Config:
    view = [*in_view, dict(type='viewplug.RandomResizedCrop', scale=4)]
    pipeline = [*loads, dict(type='viewplug.MultiView', num_views=2, transforms=[view]), dict(type='PackInputs')]
    return Config(
        dict(
            model=dict(type='viewplug.Siamese'),
            data_preprocessor=dict(PREPROCESSOR, to_rgb=turns, **normalisation),
            train_dataloader=dict(
                dataset=dict(type=dataset, data_root=str(folder), pipeline=pipeline, serialize_data=False)
            ),
        )
    )


def seen(cfg: Config, strength: float = 0.0) -> list[float]:
    """The one colour of the views."""
    init_default_scope('mmpretrain')
    ((first, _, _),) = ViewPairs(cfg, strength)
    assert first.shape == (1, 3, 4, 4) and (first == first[..., :1, :1]).all()
    return first[0, :, 0, 0].tolist()


@pytest.mark.parametrize('turns', [True, False])
@pytest.mark.parametrize('loaded', LOADERS)
def test_the_network_gets_the_channels_that_it_was_trained_on(loaded, turns, folder):
    cfg = config(folder, LOADERS[loaded], turns, mean=[1, 2, 3], std=[4, 5, 6])
    order = order_seen(cfg).known
    assert order == ('RGB' if (loaded == 'BGR') == turns else 'BGR')
    colour = torch.tensor(COLOUR if order == 'RGB' else COLOUR[::-1])
    expected = ((colour - torch.tensor([1, 2, 3])) / torch.tensor([4, 5, 6])).tolist()
    assert seen(cfg) == expected
    for others, others_turn in product(LOADERS.values(), (True, False)):
        other = config(folder, others, others_turn, mean=[9, 9, 9])
        assert seen(with_views_of(cfg, other)) == expected
        assert other.data_preprocessor == dict(PREPROCESSOR, to_rgb=others_turn, mean=[9, 9, 9])
        to_device_views(other)
        assert other.data_preprocessor.type == 'viewplug.BatchViews' and seen(with_views_of(cfg, other)) == expected


def test_channels_that_are_turned_round_within_a_view_are_known_at_every_strength(folder):
    cfg, other = config(folder, [LOAD], True), config(folder, [LOAD], True, in_view=BGR_TO_RGB)
    assert order_loaded(other).known == 'RGB' and order_seen(other).known == 'BGR'
    for strength in (0, 1):
        assert seen(with_views_of(cfg, other), strength) == list(COLOUR)
        assert seen(other, strength) == list(COLOUR[::-1])


def test_a_config_without_a_preprocessor_is_normalised_and_turned_too(folder):
    cfg, other = config(folder, [LOAD], True, mean=[1] * 3, std=[2] * 3), config(folder, [LOAD], False)
    other.pop('data_preprocessor')
    assert seen(with_views_of(cfg, other)) == [(value - 1) / 2 for value in COLOUR]


@pytest.mark.parametrize(
    ('network', 'views', 'turns'),
    [
        ('cifar10/mocov2_r18', 'mocov2_r50', True),
        ('mocov2_r50', 'cifar10/mocov2_r18', False),
        ('mocov2_hcl_r50', 'mocov2_r50', True),
        ('cifar10/mocov2_hcl_r18', 'cifar10/mocov2_r18', False),
    ],
)
def test_our_configs_in_one_order_and_in_the_other(network, views, turns):
    cfg, other = (Config.fromfile(CONFIGS / f'{name}.py') for name in (network, views))
    borrowed = with_views_of(cfg, other)
    assert borrowed.data_preprocessor.to_rgb is turns and borrowed.data_preprocessor.mean == cfg.data_preprocessor.mean
    assert order_seen(borrowed).known == order_seen(cfg).known == 'RGB'


def test_orders_that_are_not_known_are_refused_unless_they_are_the_same(folder):
    loaded = config(folder, [LOAD], True)
    for turns, others_turn in product((True, False), repeat=2):
        mine, other = (config(folder, [], value, dataset='MyImages') for value in (turns, others_turn))
        assert with_views_of(mine, other).data_preprocessor.to_rgb is turns
        sentence = f'channels {"the other way round than " * turns}as MyImages gives them, and .* come BGR: whether'
        with pytest.raises(ValueError, match=sentence):
            with_views_of(mine, loaded)
    with pytest.raises(ValueError, match=r'channels RGB, and those .* come as MyImages gives them.*--data-root DIR'):
        with_views_of(loaded, mine)
    both = config(folder, [LOAD], True)
    cifar = dict(type='CIFAR10', pipeline=[])
    both.train_dataloader.dataset = dict(type='ConcatDataset', datasets=[both.train_dataloader.dataset, cifar])
    for cfg, other in ((both, loaded), (loaded, both), (both, both)):
        with pytest.raises(ValueError, match='in no order, or in several'):
            with_views_of(cfg, other)
