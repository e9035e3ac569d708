"""What --cfg-options makes of a value."""

from argparse import ArgumentParser

import pytest
from mmengine import Config
from mmengine.config import DictAction

from viewplug.config.option_values import OptionAction


def parsed(text, action=OptionAction):
    parser = ArgumentParser()
    parser.add_argument('--cfg-options', nargs='+', action=action)
    return parser.parse_args(['--cfg-options', text]).cfg_options['key']


@pytest.mark.parametrize(
    'text',
    [
        '1',
        '-1e-3',
        'true',
        'None',
        'a',
        "'a'",
        '1,2',
        '[1, 2]',
        '(1,(a,b),[])',
        '',
        'epoch_{}.pth',
        'http://a/b?c=d',
        'f(1)',
    ],
)
def test_what_mmengine_reads_is_read_alike(text):
    found = parsed(f'key={text}')
    assert found == parsed(f'key={text}', DictAction) and type(found) is type(parsed(f'key={text}', DictAction))


@pytest.mark.parametrize(
    ('text', 'value'),
    [
        ("dict(type='A', lr=-1e-3, on=True, none=None)", dict(type='A', lr=-1e-3, on=True, none=None)),
        ("{'type': 'A', 'sizes': (1, [2])}", dict(type='A', sizes=(1, [2]))),
        ("[dict(type='A'), {'in': dict(side='b c')}]", [dict(type='A'), {'in': dict(side='b c')}]),
        ('dict()', {}),
        ('/data/my images', '/data/my images'),
        ('/data/my images (1)/x', '/data/my images (1)/x'),
        ("['/data/my images', None]", ['/data/my images', None]),
        ("[None, dict(type='X')]", [None, dict(type='X')]),
    ],
)
def test_dicts_and_spaces(text, value):
    assert parsed(f'key={text}') == value


def test_a_dict_is_merged_as_one_of_a_config_file():
    cfg = Config(dict(key=dict(type='A', kept=1)))
    cfg.merge_from_dict(dict(key=parsed("key=dict(type='B', new=[1])")))
    assert cfg.key == dict(type='B', kept=1, new=[1])


@pytest.mark.parametrize(
    ('text', 'said'),
    [
        ('key', "expected KEY=VALUE, got 'key'"),
        ('key=[1,(2]', 'Imbalanced brackets'),
        ('key=f(1,2)', 'what is f(1,2)? A list or tuple begins with its bracket'),
        ('key=dict(type=A)', "dict(type=A) is not a dict as Python writes one, e.g. dict(type='X'"),
        ('key=dict(os.getcwd())', 'is not a dict as Python writes one'),
        ("key=dict(**{'a': 1})", 'is not a dict as Python writes one'),
        ("key={'a': 1", 'is not a dict as Python writes one'),
        ('key=[1, dict(type=A)]', 'is not a dict as Python writes one'),
    ],
)
def test_what_is_no_value_is_said(text, said, capsys):
    with pytest.raises(SystemExit) as left:
        parsed(text)
    assert left.value.code == 2
    assert said in capsys.readouterr().err
