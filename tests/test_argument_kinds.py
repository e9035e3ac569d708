"""Arguments of another kind than their hints say, of every component."""

import inspect
import typing
from collections.abc import Callable, Sequence

import numpy as np
import pytest
import torch
from mmcv.transforms import RandomFlip
from mmengine.config import ConfigDict

from viewplug import registry
from viewplug.argument_kinds import fits, heed_hints, in_words
from viewplug.datasets import ImageFolder, InMemoryDataset, ShapeScenes, TarShards
from viewplug.heads import QueueHead
from viewplug.hooks import CarryOverHook, KNNHook
from viewplug.losses import InfoNCELoss
from viewplug.necks import RegionNeck
from viewplug.registry import CheckedRegistry, own_names
from viewplug.targets import MomentumTarget
from viewplug.transforms import ContrastiveCrop, QueryCrops


@pytest.mark.parametrize(
    ('build', 'said'),
    [
        (lambda: MomentumTarget(eman='no'), "^MomentumTarget: eman must be True or False, got 'no'"),
        (lambda: MomentumTarget(momentum=True), '^MomentumTarget: momentum must be a number, got True'),
        (lambda: MomentumTarget(0.9, None, 2.5), 'total_steps must be a whole number or None, got 2.5'),
        (lambda: InfoNCELoss(temperature='0.2'), "temperature must be a number, got '0.2'"),
        (lambda: InfoNCELoss(float('nan')), 'temperature must be a number, got nan'),
        (lambda: QueueHead(loss=None), '^QueueHead: loss must be a dict or Module, got None'),
        (lambda: CarryOverHook(fresh='target.'), "fresh must be a list, each entry a string, got 'target.'"),
        (lambda: ContrastiveCrop(32, (0.2, 0.5, 1)), r'crop_ratio_range must be a pair, each a number, got \(0\.2'),
        (lambda: QueueHead({}, start='zeros'), "start must be 'random' or 'empty', got 'zeros'"),
        (lambda: KNNHook({}, {}, at_start=1), 'at_start must be True or False, got 1'),
    ],
)
def test_it_is_a_sentence_with_the_name_and_the_value(build, said):
    with pytest.raises(ValueError, match=said):
        build()


@pytest.mark.parametrize(
    ('value', 'hint', 'fitting'),
    [
        (1, float, True),
        (np.float32(0.5), float, True),
        (np.int64(3), int, True),
        (3.0, int, False),
        (False, int, False),
        (0, bool, False),
        (np.bool_(True), bool, True),
        (np.bool_(True), int, False),
        (None, int | None, True),
        ('ab', Sequence[str], False),
        (['a', 'b'], Sequence[str], True),
        (['a', 2], Sequence[str], False),
        ('auto', bool | typing.Literal['auto'], True),
        (1, bool | typing.Literal['auto'], False),
        (True, typing.Literal[1], False),
        ([0.2, 1], tuple[float, float], True),
        ([0.2], tuple[float, float], False),
        ((1, 2, 3), tuple[int, ...], True),
        (np.zeros(2), tuple[float, float], True),
        (ConfigDict(a=1), dict, True),
        (dict(a=1), dict[str, int], True),
        ([1], dict[str, int], False),
        (len, Callable[..., float], True),
        ('len', Callable[..., float], False),
        ('anything', typing.Any, True),
        ('anything', type[int], True),  # not understood: passes
    ],
    ids=str,
)
def test_what_fits(value, hint, fitting):
    assert fits(value, hint) is fitting


def test_hints_in_words():
    assert in_words(tuple[float, float] | None) == 'a pair, each a number or None'
    assert in_words(int | Sequence[int]) == 'a whole number or a list, each entry a whole number'
    assert in_words(bool | str | dict) == 'True or False or a string or a dict'


def test_one_value_in_place_of_a_list_is_taken_where_the_hint_says_so():
    assert RegionNeck('C4').levels == RegionNeck(['C4']).levels == RegionNeck(16).levels


def test_a_call_that_does_not_fit_the_signature_is_pythons_own_error():
    with pytest.raises(TypeError, match=r"InfoNCELoss\.__init__\(\) got an unexpected keyword argument 'temprature'"):
        InfoNCELoss(temprature=1)
    assert list(inspect.signature(InfoNCELoss).parameters) == ['temperature']
    assert inspect.getfullargspec(InfoNCELoss.__init__).args == ['self', 'temperature']


def test_paths_devices_and_built_steps_are_taken_where_strings_and_configs_are(tmp_path):
    assert len(InMemoryDataset(ShapeScenes(4, 32), device=torch.device('cpu'))) == 4
    assert ImageFolder(data_root=tmp_path, lazy_init=True).data_root == str(tmp_path)
    assert TarShards(data_root=tmp_path, index_root=tmp_path, lazy_init=True).data_root == str(tmp_path)
    assert len(QueryCrops(transforms=[RandomFlip(0.5)]).own.transforms) == 1


def test_subclasses_of_others_and_classes_without_an_init_are_left_alone():
    class Own(InfoNCELoss):
        pass

    assert heed_hints(Own) is Own and '__init__' not in vars(Own)
    assert Own(0.3).temperature == 0.3


def test_the_hints_of_every_component_can_be_read():
    registries = [one for one in vars(registry).values() if isinstance(one, CheckedRegistry)]
    found = 0
    for one in registries:
        for name in own_names(one):
            cls = one.module_dict[name]
            made = vars(cls).get('__init__') if inspect.isclass(cls) else None
            if made is not None and cls.__module__.startswith('viewplug.'):  # other tests register parts of their own
                assert made.__code__.co_name == 'checked', name
                assert typing.get_type_hints(made) or not inspect.unwrap(made).__annotations__, name
                found += 1
    assert found > 60
