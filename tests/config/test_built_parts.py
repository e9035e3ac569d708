"""Parts that are built by their type: one without, and one that a library's of the same name hides."""

import pytest
from mmcv.transforms import BaseTransform
from mmengine import Config
from mmengine.hooks import Hook
from mmengine.registry import HOOKS, TRANSFORMS, DefaultScope
from toy_runs import PIPELINE, toy_runner
from toys import ToyImages

from viewplug.config.built_parts import check_hidden, check_types

STEP = dict(type='RandomApply', transforms=dict(typ='ColorJitter'))


@pytest.mark.parametrize(
    ('cfg', 'said'),
    [
        (
            dict(custom_hooks=[dict(typ='viewplug.KNNHook')]),
            r"^custom_hooks\.0: {'typ': 'viewplug\.KNNHook'} has no type, .*; write type in place of typ$",
        ),
        (dict(custom_hooks=dict(type='KNNHook')), '^custom_hooks is a list of hooks, got .*: put it into brackets'),
        (dict(custom_hooks=['KNNHook']), r"^custom_hooks\.0: 'KNNHook' is a name, .*: dict\(type='KNNHook'\)"),
        (
            dict(default_hooks=dict(logger=dict(interval=5))),
            r"^default_hooks\.logger: {'interval': 5} has no .* built$",
        ),
        (dict(model=dict(tpye='A')), '^model: .*write type in place of tpye'),
        (
            dict(train_dataloader=dict(dataset=dict(type='A', pipeline=[dict(type='B'), STEP]))),
            r'^train_dataloader\.dataset\.pipeline\.1\.transforms: .*write type in place of typ',
        ),
        (
            dict(train_dataloader=dict(dataset=dict(type='A', transforms=[[dict(type='B'), 'C']]))),
            r"^train_dataloader\.dataset\.transforms\.0\.1: 'C' is a name, and a transform is a dict",
        ),
        (
            dict(val_dataloader=[dict(dataset=dict(type='A', pipeline=[dict(scale=3)]))]),
            r"^val_dataloader\.0\.dataset\.pipeline\.0: {'scale': 3} has no type, by which it is built$",
        ),
        (
            dict(custom_hooks=[dict(type='K', train_dataloader=dict(dataset=dict(pipeline=[['B']])))]),
            r'^custom_hooks\.0\.train_dataloader\.dataset\.pipeline\.0\.0: .B. is a name, and a transform is a dict',
        ),
    ],
    ids=str,
)
def test_one_without_a_type_is_named(cfg, said):
    with pytest.raises(ValueError, match=said):
        check_types(Config(cfg))


def test_what_needs_none_or_is_no_dict_is_taken():
    check_types(
        Config(
            dict(
                variable=dict(pipeline=[STEP]),
                custom_hooks=[Hook()],
                default_hooks=dict(timer=None, logger=dict(type='LoggerHook')),
                model=dict(type='A', data_preprocessor=dict(transforms=[[dict(scale=3)]]), branches=dict(a=dict())),
                train_dataloader=dict(dataset=dict(type='A', metainfo=dict(model={}), pipeline=[ToyImages])),
                optim_wrapper=dict(paramwise_cfg=dict(custom_keys=dict(model=dict(lr_mult=0.1)))),
            )
        )
    )
    check_types(Config(dict(custom_hooks=None, default_hooks=None)))


def test_arguments_of_somebodys_own_parts_are_no_parts_for_their_names():
    mapper = dict(type='KeyMapper', mapping=dict(transforms=['a', 'b']), transforms=[dict(type='Resize')])
    check_types(
        Config(
            dict(
                model=dict(type='A', backbone=dict(type='MyHF', model=dict(name='vit'))),
                custom_hooks=[dict(type='MyTeacher', model=dict(arch='r50'), transforms=[dict(dtype='int')])],
                train_dataloader=dict(dataset=dict(type='MyData', transforms=['flip', 'crop'], pipeline=[mapper])),
            )
        )
    )


@pytest.fixture
def own(monkeypatch):
    """A hook and a step of somebody's, whose names mmpretrain has as well."""
    kinds = dict(SimSiamHook=(HOOKS, Hook), Lighting=(TRANSFORMS, BaseTransform))
    for name, (registry, base) in kinds.items():
        monkeypatch.setitem(registry.module_dict, name, type(name, (base,), {}))


PLACES = {
    'custom_hooks.0': lambda name: dict(custom_hooks=[dict(type=f'{name}SimSiamHook')]),
    'default_hooks.mine': lambda name: dict(default_hooks=dict(mine=dict(type=f'{name}SimSiamHook'))),
    'val_dataloader.dataset.pipeline.0': lambda name: dict(
        val_dataloader=dict(dataset=dict(type='viewplug.ImageFolder', pipeline=[dict(type=f'{name}Lighting')]))
    ),
}


@pytest.mark.parametrize('place', PLACES)
def test_one_of_somebodys_own_that_a_librarys_of_the_same_name_hides_is_refused(place, own):
    def check(name, **changes):
        check_hidden(Config(dict(PLACES[place](name), default_scope='mmpretrain', **changes)))

    with pytest.raises(ValueError, match=rf"^{place}: type='\w+' is .* and mmpretrain\..*, which would be built"):
        check('')
    for name in ('mmengine.', 'mmpretrain.'):
        check(name)
    with DefaultScope.overwrite_default_scope('mmpretrain'):  # of a run before; a Runner without one has mmengine's
        with pytest.raises(ValueError, match=f'^{place}: '):
            check_hidden(Config(PLACES[place]('')))
        check_hidden(Config(PLACES[place]('')), 'mmengine')


def test_a_runner_without_our_command_line_is_stopped_too(own, tmp_path):
    runner = toy_runner(tmp_path, [dict(type='viewplug.PreflightHook')], dataset=ToyImages(pipeline=PIPELINE))
    runner.cfg = Config(dict(PLACES['custom_hooks.0'](''), default_scope='mmpretrain'))
    with pytest.raises(ValueError, match=r'^custom_hooks\.0: .*which would be built'):
        runner.train()
