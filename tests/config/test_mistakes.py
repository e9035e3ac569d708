"""Exceptions as sentences: the right key, and no exception of the explanation's own."""

import functools

import numpy as np
import pytest
import torch
from mmengine import Config
from mmengine.optim import build_optim_wrapper
from mmengine.registry import Registry

from viewplug.config.mistakes import places_of, sentence
from viewplug.unknown_type import instead_of_type

PARTS = Registry('parts of a test')


@PARTS.register_module()
class Part:
    def __init__(self, momentum=0.9, inner=None, array=None, scale=1):
        if scale == 'bad':
            raise RuntimeError('no such scale')


@PARTS.register_module()
class Other:
    def __init__(self, scale=1):
        pass


def said(build, cfg: dict) -> str:
    try:
        build()
    except Exception as error:
        return sentence(error, Config(cfg))
    raise AssertionError('nothing was raised')


def test_the_place_is_that_of_what_was_built_and_not_of_a_namesake():
    wrong = dict(type='Other', momentum=0.9)
    cfg = dict(model=dict(part=dict(type='Part', momentum=0.5)), optim_wrapper=dict(optimizer=wrong))
    assert said(lambda: PARTS.build(wrong), cfg).startswith(
        'optim_wrapper.optimizer.momentum: Other has no argument momentum'
    )


def test_workers_that_are_to_persist_and_are_none_are_told_by_the_loaders_keys():
    loader = functools.partial(torch.utils.data.DataLoader, [0], num_workers=0, persistent_workers=True)
    assert 'num_workers=0 goes with persistent_workers=False, in train_dataloader' in said(loader, dict())


def test_the_fullest_match_that_the_run_reads_is_named():
    wrong = dict(type='Part', scale='bad')
    cfg = dict(variable=wrong, model=dict(a=dict(type='Part'), b=wrong))
    assert said(lambda: PARTS.build(wrong), cfg) == ('model.b: RuntimeError: no such scale (--traceback shows where)')


@pytest.mark.parametrize('array', [np.arange(3), torch.arange(3)], ids=['numpy', 'torch'])
def test_arrays_in_a_config_do_not_stop_the_explanation(array):
    wrong = dict(type='Part', scale='bad', array=array)
    with_array = Config(dict(model=dict(a=dict(type='Part', array=array))))
    try:
        PARTS.build(wrong)
    except RuntimeError as error:
        assert 'no such scale' in sentence(error, with_array)
    assert list(places_of([1], dict(a=[1], b=array))) == ['a']


def test_neither_do_partials():
    wrong = dict(type=functools.partial(Part, momentum=1), no_such=1)
    assert 'no argument no_such' in said(lambda: PARTS.build(wrong), dict(model=wrong))


@pytest.mark.parametrize(
    ('inner', 'expected'),
    [
        (dict(scale=3), r'model.part.inner has no type, by which it is built '),
        (dict(tpye='Other'), r'model.part.inner has no type, by which it is built; write type in place of tpye '),
    ],
    ids=str,
)
def test_what_has_no_type_is_the_part_that_was_built_and_not_the_first_alike(inner, expected):
    cfg = dict(train_dataloader=dict(typ='x'), model=dict(part=dict(type='Part', inner=inner)))
    assert said(lambda: PARTS.build(dict(inner)), cfg).startswith(expected)

    def part():
        cfg, registry = dict(type='Part', inner=inner), PARTS  # as in a builder that looks into what it builds
        return registry and cfg['inner']['type']

    assert said(part, cfg).startswith(expected if 'tpye' in inner else 'train_dataloader has no type')


def test_keys_much_like_type_are_misspellings_of_it():
    for key in ('typ', 'tpye', 'tyep', 'Type', 'ype'):
        assert instead_of_type({key: 'A'}) == f'; write type in place of {key}'
    for key in ('style', 'dtype', 'types', 'task_type', 'time', 'tag', 0):
        assert instead_of_type({key: 'pytorch'}) == ''


def raising(error):
    raise error


@pytest.mark.parametrize(
    ('error', 'expected'),
    [
        (KeyError('img'), 'KeyError: img'),
        (StopIteration(), 'StopIteration: StopIteration'),
        (AssertionError(), 'AssertionError: an assertion failed'),
        (FileNotFoundError(2, 'No such file or directory', 'a/b.json'), 'No such file or directory: a/b.json'),
        (UnicodeDecodeError('utf8', b'x', 0, 1, 'bad byte'), "'utf8' codec can't decode byte 0x78"),
        (
            RuntimeError('Caught ValueError in worker.\nOriginal Traceback ...\nValueError: not an image'),
            'not an image',
        ),
    ],
    ids=repr,
)
def test_texts_that_say_something(error, expected):
    assert expected in said(lambda: raising(error), {})


def test_a_librarys_error_within_viewplug_is_not_taken_for_a_sentence_of_ours():
    from viewplug.losses import InfoNCELoss

    text = said(lambda: InfoNCELoss()(torch.zeros(2), torch.zeros(3, 4)), {})
    assert text.endswith('(--traceback shows where)') and 'viewplug.InfoNCELoss: ' in text


@pytest.mark.skipif(torch.cuda.is_available(), reason='AmpOptimWrapper is for GPUs')
@pytest.mark.parametrize('kind', ['AmpOptimWrapper', 'viewplug.AmpOptimWrapper'])
def test_mixed_precision_for_gpus_is_told_the_one_for_cpus(kind):
    network = torch.nn.Linear(2, 2)
    wrapper = Config(dict(type=kind, dtype='bfloat16', optimizer=dict(type='SGD', lr=0.1)))._cfg_dict
    text = said(lambda: build_optim_wrapper(network, wrapper), dict(optim_wrapper=wrapper))
    assert f'optim_wrapper.type={kind} is for GPUs; on a CPU set it to' in text and 'CPUAmpOptimWrapper' in text


def test_an_assertion_without_words_is_quoted():
    from mmpretrain.models.necks import MoCoV2Neck

    maps = (torch.zeros(1, 4, 2, 2),) * 2
    neck = MoCoV2Neck(in_channels=4, hid_channels=4, out_channels=4)
    text = said(lambda: neck(maps), dict(model=dict()))
    assert text.startswith('AssertionError: an assertion failed: `assert len(x) == 1` in mocov2_neck.py')
