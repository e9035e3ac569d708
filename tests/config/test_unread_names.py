"""Names of config files that nothing reads: misspelt ones stop a run, others are said."""

import pytest
from mmengine import Config

from viewplug.config import unread_names
from viewplug.config.unread_names import check_names


@pytest.fixture
def said(monkeypatch):
    texts = []
    monkeypatch.setattr(unread_names, 'print_log', lambda text, *args: texts.append(text))
    return texts


def check(folder, **files):
    """Write files, and look at the last one."""
    for name, text in files.items():
        (folder / f'{name}.py').write_text(text)
    check_names(folder / f'{name}.py', Config.fromfile(folder / f'{name}.py'))


@pytest.mark.parametrize(
    ('name', 'meant'),
    [
        ('param_schedulers', 'param_scheduler'),
        ('customhooks', 'custom_hooks'),
        ('loadfrom', 'load_from'),
        ('viws', 'views'),
        ('stage1_confg', 'stage1_config'),
        ('models', 'model'),
        ('seed', r'randomness=dict\(seed=\.\.\.\)\? A variable to keep unused begins with an underscore$'),
    ],
)
def test_a_misspelt_name_stops_the_run(name, meant, tmp_path):
    with pytest.raises(ValueError, match=rf'own\.py: nothing reads {name}, did you mean {meant}'):
        check(tmp_path, base='speed = dict()', own=f"_base_ = 'base.py'\n{name} = 'x'")
    with pytest.raises(ValueError, match=rf'base\.py: nothing reads {name}, did you mean'):
        check(tmp_path, base=f"{name} = 'x'", own="_base_ = ['base.py']\nload_from = None")


@pytest.mark.parametrize(
    'use',
    ['model = dict(neck=models)', 'models[0] = 3', 'del models', 'def f():\n    return models\nmodel = dict(x=f())'],
    ids=str,
)
def test_a_name_that_its_file_uses_is_a_variable(use, tmp_path, said):
    check(tmp_path, own=f'models = [1]\n{use}')
    assert not said


@pytest.mark.parametrize('use', ['_base_.models', "_base_['models']", '{{_base_.models}}', "'{{_base_.models}}/x'"])
def test_so_is_one_that_an_inheriting_file_uses(use, tmp_path, said):
    check(tmp_path, base="models = 'a'", own=f"_base_ = 'base.py'\nwork_dir = {use}")
    assert not said


def test_so_it_is_in_pure_python_configs(tmp_path, said):
    start = 'from mmengine.config import read_base\nwith read_base():\n    from .base import *\n'
    check(tmp_path, base="models = 'a'", own=f'{start}work_dir = models')
    with pytest.raises(ValueError, match='nothing reads customhooks'):
        check(tmp_path, base="models = 'a'", own=f'{start}work_dir = models\ncustomhooks = []')
    with pytest.raises(ValueError, match='nothing reads models'):
        check(tmp_path, base="models = 'a'", own=f"{start}work_dir = 'b'")
    assert not said


def test_a_variable_that_was_used_before_it_was_set_is_said_with_the_part_it_made(tmp_path, said):
    base = 'crops = [dict(scale=32)]\ntrain_dataloader = dict(dataset=dict(pipeline=crops))'
    check(tmp_path, base=base, own="_base_ = 'base.py'\ncrops = [dict(scale=64)]")
    [text] = said
    assert 'crops is a variable of' in text and text.endswith('part itself, e.g. train_dataloader.dataset.pipeline.')
    said.clear()
    check(tmp_path, base=base, own="_base_ = 'base.py'\ncrops = [3]\ntrain_dataloader = dict(dataset=crops)")
    assert not said


def test_a_dumped_config_has_its_variables_beside_the_parts_they_made(tmp_path, said):
    text = "seed = 3\nview = dict(type='Crop')\nrandomness = dict(seed=seed)\ntrain_dataloader = dict(dataset=[view])"
    (tmp_path / 'own.py').write_text(text)
    dumped = tmp_path / 'dumped.py'
    Config.fromfile(tmp_path / 'own.py').dump(dumped)
    check_names(dumped, Config.fromfile(dumped))
    assert not said
    check(tmp_path, edited=dumped.read_text().replace('seed=3', 'sed=4').replace('seed = 3', 'sed = 3'))
    assert said == [f'{tmp_path}/edited.py: nothing reads sed; it changes nothing in this run.']
    with pytest.raises(ValueError, match='nothing reads view, did you mean views'):
        check(tmp_path, edited=dumped.read_text().replace("view = dict(type='Crop'", "view = dict(type='Other'"))


def test_a_dumped_config_of_parts_that_the_run_has_changed_is_taken_until_it_is_edited(tmp_path, said):
    text = (
        "pack_views = dict(type='Pack')\ntrain_dataloader = dict(dataset=dict(pipeline=[]))\nview = [dict(scale=32)]\n"
    )
    kept = tmp_path / '20260101_000000/vis_data/config.py'
    kept.parent.mkdir(parents=True)
    kept.write_text(text)
    check(tmp_path, dumped=text)
    assert not said
    with pytest.raises(ValueError, match='nothing reads view, did you mean views'):
        check(tmp_path, dumped=text.replace('32', '64'))


def test_a_base_in_yaml_is_passed_by(tmp_path, said):
    (tmp_path / 'base.yaml').write_text('model:\n  type: Toy\n')
    check(tmp_path, own="_base_ = 'base.yaml'\nload_from = None")
    assert not said


def test_names_of_nothing_are_said_and_private_ones_are_not(tmp_path, said):
    check(tmp_path, own='optimizer = dict(lr=1)\n_model = 3\nwork_dir = "a"')
    assert said == [f'{tmp_path}/own.py: nothing reads optimizer; it changes nothing in this run.']


def test_a_runner_of_ones_own_may_read_anything(tmp_path, said):
    check(tmp_path, own="runner_type = 'Mine'\nmodels = 3")
    assert not said
